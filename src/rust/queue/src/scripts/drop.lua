-- Ends a job: nothing of it stays. Its reader is woken by a last event after this.
-- ARGV: job.
local job = ARGV[1]
call('LREM', KEYS[1], 0, job)
call('UNLINK', key('job', job), key('job', job, 'queue'), key('job', job, 'events'))
return 1
