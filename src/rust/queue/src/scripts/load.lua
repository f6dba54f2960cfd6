-- How much there is to do, and who does it. Returns the number of chunks that wait, and a list of
-- {worker, slots, held}: the workers that are alive, and how many chunks each holds.
local waiting = 0
for _, job in ipairs(call('LRANGE', KEYS[1], 0, -1)) do
  waiting = waiting + call('LLEN', key('job', job, 'queue'))
end
local workers = {}
for _, worker in ipairs(call('SMEMBERS', key('workers'))) do
  local slots = call('GET', key('alive', worker))
  if slots then
    workers[#workers + 1] = {worker, slots, call('LLEN', key('leased', worker))}
  end
end
return {waiting, workers}
