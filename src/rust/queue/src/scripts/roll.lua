-- The workers that are alive. Returns a list of {worker, slots}.
local roll = {}
for _, worker in ipairs(call('SMEMBERS', key('workers'))) do
  local slots = call('GET', key('alive', worker))
  if slots then
    roll[#roll + 1] = {worker, slots}
  end
end
return roll
