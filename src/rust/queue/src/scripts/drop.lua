-- Ends a job: nothing of it stays. A last event, behind all that its reader has read, wakes that.
-- ARGV: job, the last event's id, how long it stays (ms).
local job, last, stay = ARGV[1], ARGV[2], ARGV[3]
call('LREM', KEYS[1], 0, job)
call('UNLINK', key('job', job), key('job', job, 'queue'), key('job', job, 'events'))
call('XADD', key('job', job, 'events'), last, 'k', 'z')
call('PEXPIRE', key('job', job, 'events'), stay)
return 1
