-- Says of each chunk that the client has not received how Redis knows it.
-- Registers the client, and tells the ring of the job, which workers forget without its client.
-- ARGV: job, client, lease (ms), ttl (ms), id of the last event that the client has taken in,
-- names... Returns a list of 'open', 'split', 'gone', 'told' when its outcome may be among the events
-- unread, or 'lost' when there are none.
local job, client, lease, ttl, seen = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local hash = key('job', job)
greet(client, lease)
if call('LLEN', key('job', job, 'queue')) > 0 and not call('LPOS', KEYS[1], job) then
  announce(job, ttl)
end
-- What is open stands in the queue or in a worker's list; what stands in neither, because a list was
-- lost, goes back.
local placed = {}
for _, entry in ipairs(call('LRANGE', key('job', job, 'queue'), 0, -1)) do
  placed[entry] = true
end
for _, worker in ipairs(call('SMEMBERS', key('workers'))) do
  for _, entry in ipairs(call('LRANGE', key('leased', worker), 0, -1)) do
    placed[entry] = true
  end
end
local unread = #call('XRANGE', key('job', job, 'events'), '(' .. seen, '+', 'COUNT', 1) > 0
local closed = unread and 'told' or 'lost'
local states = {}
for i = 6, #ARGV do
  if call('HEXISTS', hash, 'p:' .. ARGV[i]) == 1 then
    states[#states + 1] = 'open'
    if not placed[job .. '/' .. ARGV[i]] then
      call('RPUSH', key('job', job, 'queue'), job .. '/' .. ARGV[i])
      touch(job, ttl)
      announce(job, ttl)
    end
  elseif call('HEXISTS', hash, 'c:' .. ARGV[i]) == 1 then
    states[#states + 1] = call('HEXISTS', hash, 'd:' .. ARGV[i]) == 1 and 'split' or closed
  else
    states[#states + 1] = 'gone'
  end
end
return states
