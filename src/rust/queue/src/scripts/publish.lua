-- Publishes chunks that the client has not received. Those that are open or closed are left alone,
-- so it may be repeated. A closed chunk whose outcome nobody has is opened again when `reopen`.
-- Registers the client, without which its job would not be leased.
-- ARGV: job, client, lease (ms), ttl (ms), reopen (0 or 1), then for each chunk: name, parent ('' for
-- none), payload (the parent's for a child). Returns how many were queued.
local job, client, lease, ttl, reopen = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local hash = key('job', job)
local queued = 0
-- Refused first when Redis is out of memory.
call('HSET', hash, 'client', client)
greet(client, lease)
for i = 6, #ARGV, 3 do
  local name, parent, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if reopen then
    call('HDEL', hash, 'c:' .. name)
  end
  if call('HEXISTS', hash, 'c:' .. name) == 0 then
    if parent ~= '' then
      call('HSETNX', hash, 'd:' .. parent, payload)
      payload = '@' .. parent
    end
    if call('HSETNX', hash, 'p:' .. name, payload) == 1 then
      call('RPUSH', key('job', job, 'queue'), job .. '/' .. name)
      queued = queued + 1
    end
  end
end
touch(job, ttl)
if queued > 0 then
  announce(job, ttl)
end
return queued
