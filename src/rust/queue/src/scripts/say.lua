-- A worker says something of a running job: an event for the client, if the job is still there.
-- ARGV: job, letter of the event, name, payload, ttl (ms).
local job, letter, name, payload, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if call('EXISTS', key('job', job)) == 0 then
  return 0
end
call('XADD', key('job', job, 'events'), '*', 'k', letter, 'n', name, 'p', payload)
touch(job, ttl)
return 1
