-- Says of each chunk that the client has not received how Redis knows it.
-- ARGV: job, names... Returns a list of 'open', 'closed', 'split' or 'gone'.
local hash = key('job', ARGV[1])
local states = {}
for i = 2, #ARGV do
  if call('HEXISTS', hash, 'p:' .. ARGV[i]) == 1 then
    states[#states + 1] = 'open'
  elseif call('HEXISTS', hash, 'c:' .. ARGV[i]) == 1 then
    states[#states + 1] = call('HEXISTS', hash, 'd:' .. ARGV[i]) == 1 and 'split' or 'closed'
  else
    states[#states + 1] = 'gone'
  end
end
return states
