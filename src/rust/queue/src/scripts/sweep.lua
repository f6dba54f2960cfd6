-- Gives back what dead workers hold. A client always sweeps, a worker only where nobody else does.
-- ARGV: client or worker, 'client' or 'worker', lease (ms), time from the first look to the second
-- (ms), time that a first look is remembered (ms), ttl (ms), losses allowed.
-- Returns a list of {worker, job, chunk, attempt}: tasks that have used up their losses, each still
-- in its worker's list, to be settled as lost by the caller.
local who, role, lease, ttl, allowed = ARGV[1], ARGV[2], ARGV[3], ARGV[6], tonumber(ARGV[7])
local second, remembered = tonumber(ARGV[4]), tonumber(ARGV[5])
-- After a command that needs no memory, none is refused for want of it.
call('PEXPIRE', KEYS[1], ttl)
local sweeper = key('sweeper')
if role == 'client' then
  greet(who, lease)
elseif (call('GET', sweeper) or who) ~= who then
  return {}
end
call('SET', sweeper, who, 'PX', lease)

local lost = {}

-- Whatever has no time to live gets one.
local function mend(name)
  if call('PTTL', name) == -1 then
    call('PEXPIRE', name, ttl)
  end
end

-- Gives one entry back; says whether it is still held, to be settled as lost.
local function give_back(worker, entry)
  local leased = key('leased', worker)
  local job, chunk, n = string.match(entry, '^([^/]+)/(%d+%+(%d+))$')
  local hash = job and key('job', job)
  local payload = job and call('HGET', hash, 'p:' .. chunk)
  if not payload then
    call('LREM', leased, 0, entry)
    return false
  end
  local attempt = call('HGET', hash, 'a:' .. chunk) or '0'
  local started = call('HGET', hash, 's:' .. chunk) == attempt
  if started and n == '1' then
    local losses = tonumber(call('HGET', hash, 'l:' .. chunk) or '0')
    if losses < allowed then
      losses = call('HINCRBY', hash, 'l:' .. chunk, 1)
    end
    if losses >= allowed then
      lost[#lost + 1] = {worker, job, chunk, attempt}
      return true
    end
  end
  call('LREM', leased, 0, entry)
  if started and n ~= '1' then
    split(job, chunk, payload)
  else
    call('LPUSH', key('job', job, 'queue'), entry)
  end
  touch(job, ttl)
  announce(job, ttl)
  return false
end

-- Whether a first look is long enough ago; if there was none, this is it.
local function due(worker)
  local left = call('PTTL', key('look', worker))
  if left < 0 then
    call('SET', key('look', worker), '1', 'PX', remembered)
    return false
  end
  return remembered - left >= second
end

for _, worker in ipairs(call('SMEMBERS', key('workers'))) do
  local leased = key('leased', worker)
  mend(leased)
  mend(key('ctl', worker))
  if call('EXISTS', key('alive', worker)) == 1 then
    call('DEL', key('look', worker))
  elseif due(worker) then
    local entries, kept = call('LRANGE', leased, 0, -1), false
    for i = #entries, 1, -1 do
      kept = give_back(worker, entries[i]) or kept
    end
    if not kept then
      call('SREM', key('workers'), worker)
      call('DEL', key('look', worker))
    end
  end
end
for _, job in ipairs(call('LRANGE', KEYS[1], 0, -1)) do
  mend(key('job', job))
  mend(key('job', job, 'queue'))
  mend(key('job', job, 'events'))
end
mend(key('workers'))
mend(key('bell'))
-- A token may have gone to a connection that was dead.
if call('LLEN', KEYS[1]) > 0 then
  ring_bell(ttl)
end
return lost
