-- Reports that the R process died under a chunk. A report for an attempt that is not the current
-- one, or for a chunk that the worker does not hold, is ignored: it may be a repeated one. A chunk
-- of several tasks is split into chunks of one; a task that ran alone counts a crash, and after the
-- last one allowed it is settled with the outcome given.
-- ARGV: worker, job, chunk, attempt, outcome, ttl (ms), crashes allowed.
-- Returns 'ignored', 'split', 'again' or 'settled'.
local worker, job, chunk, attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local outcome, ttl, allowed = ARGV[5], ARGV[6], tonumber(ARGV[7])
local hash, leased, entry = key('job', job), key('leased', worker), job .. '/' .. chunk
local payload = call('HGET', hash, 'p:' .. chunk)
if not payload or not call('LPOS', leased, entry) or call('HGET', hash, 'a:' .. chunk) ~= attempt then
  return 'ignored'
end
call('LREM', leased, 0, entry)
local queue = key('job', job, 'queue')
local verdict
if string.match(chunk, '%d+$') ~= '1' then
  split(job, chunk, payload)
  verdict = 'split'
elseif call('HINCRBY', hash, 'k:' .. chunk, 1) >= allowed then
  call('HDEL', hash, 'p:' .. chunk)
  call('HSET', hash, 'c:' .. chunk, '1')
  call('XADD', key('job', job, 'events'), '*', 'k', 'o', 'n', chunk, 'p', outcome)
  verdict = 'settled'
else
  call('LPUSH', queue, entry)
  verdict = 'again'
end
touch(job, ttl)
if call('LLEN', queue) > 0 then
  announce(job, ttl)
end
return verdict
