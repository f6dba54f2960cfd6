-- Puts a held chunk back at the head of its queue, without split or blame.
-- ARGV: worker, job, chunk, ttl (ms). Returns 1 when it was held and is open, else 0.
local worker, job, chunk, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local entry = job .. '/' .. chunk
if call('LREM', key('leased', worker), 0, entry) == 0 then
  return 0
end
if call('HEXISTS', key('job', job), 'p:' .. chunk) == 0 then
  return 0
end
call('LPUSH', key('job', job, 'queue'), entry)
touch(job, ttl)
announce(job, ttl)
return 1
