-- Hands in an outcome and gives up the lease. The first outcome of an open chunk closes it; a later
-- one is counted and dropped, whichever attempt it is of.
-- ARGV: worker, job, chunk, outcome, ttl (ms). Returns 1 when the outcome was taken, else 0.
local worker, job, chunk, outcome, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local hash = key('job', job)
local taken = call('HDEL', hash, 'p:' .. chunk)
if taken == 1 then
  call('HSET', hash, 'c:' .. chunk, '1')
  call('XADD', key('job', job, 'events'), '*', 'k', 'o', 'n', chunk, 'p', outcome)
  touch(job, ttl)
elseif call('EXISTS', hash) == 1 then
  call('HINCRBY', hash, 'duplicates', 1)
end
call('LREM', key('leased', worker), 0, job .. '/' .. chunk)
return taken
