-- Says of each chunk that the client has not received how Redis knows it.
-- ARGV: job, id of the last event that the client has taken in, names... Returns a list of 'open',
-- 'split', 'gone', 'told' when its outcome may be among the events unread, or 'lost' when there are
-- none.
local hash = key('job', ARGV[1])
local unread = #call('XRANGE', key('job', ARGV[1], 'events'), '(' .. ARGV[2], '+', 'COUNT', 1) > 0
local closed = unread and 'told' or 'lost'
local states = {}
for i = 3, #ARGV do
  if call('HEXISTS', hash, 'p:' .. ARGV[i]) == 1 then
    states[#states + 1] = 'open'
  elseif call('HEXISTS', hash, 'c:' .. ARGV[i]) == 1 then
    states[#states + 1] = call('HEXISTS', hash, 'd:' .. ARGV[i]) == 1 and 'split' or closed
  else
    states[#states + 1] = 'gone'
  end
end
return states
