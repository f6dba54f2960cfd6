-- Ends a job: nothing of it stays, and its reader is woken by a last event before.
-- ARGV: job.
local job = ARGV[1]
call('LREM', KEYS[1], 0, job)
call('UNLINK', key('job', job), key('job', job, 'queue'), key('job', job, 'events'))
return 1
