-- Hands in an outcome and gives up the lease. The first outcome of an open chunk closes it; a later
-- one is counted and dropped, whichever attempt it is of.
-- ARGV: worker, job, chunk, attempt, outcome, ttl (ms). Returns 'taken', 'again' when this very
-- attempt has handed in before (its answer was lost), or 'late'.
local worker, job, chunk, attempt, outcome, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local hash = key('job', job)
local author = worker .. '/' .. attempt
local verdict = 'late'
if call('HEXISTS', hash, 'p:' .. chunk) == 1 then
  verdict = 'taken'
  -- Refused first, before anything is changed, when Redis is out of memory.
  call('HSET', hash, 'c:' .. chunk, author)
  call('HDEL', hash, 'p:' .. chunk)
  call('XADD', key('job', job, 'events'), '*', 'k', 'o', 'n', chunk, 'p', outcome)
  touch(job, ttl)
elseif call('EXISTS', hash) == 1 then
  if call('HGET', hash, 'c:' .. chunk) == author then
    verdict = 'again'
  end
  call('HINCRBY', hash, 'duplicates', 1)
  -- Written alone, it would be what is left of a job where an append-only file lost the rest.
  touch(job, ttl)
end
call('LREM', key('leased', worker), 0, job .. '/' .. chunk)
return verdict
