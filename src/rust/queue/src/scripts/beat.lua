-- A worker's heartbeat: registers it, and says which of its jobs are still wanted, and whether
-- somebody else sweeps.
-- ARGV: worker, slots, alive (ms), ttl (ms), then for each job: job, client.
-- Returns {for each job 1 when both the job and its client's lease are there, else 0}, and 1 when
-- the worker is to sweep, else 0.
local worker, slots, alive, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- First a command that needs no memory: then none is refused for want of it, and a worker does not
-- seem dead because Redis is full.
call('PEXPIRE', key('leased', worker), ttl)
register(worker, slots, alive, ttl)
local wanted = {}
for i = 5, #ARGV, 2 do
  local there = call('EXISTS', key('job', ARGV[i]), key('client', ARGV[i + 1]))
  if there == 2 then
    touch(ARGV[i], ttl)
  end
  wanted[#wanted + 1] = there == 2 and 1 or 0
end
return {wanted, (call('GET', key('sweeper')) or worker) == worker and 1 or 0}
