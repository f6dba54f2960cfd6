-- Stands before every script. KEYS[1] is the ring: it routes the call to the cluster's node, and
-- every other name follows from its prefix (the keys share one hash tag).
local prefix = string.sub(KEYS[1], 1, -5)
local call = redis.call

local function key(...)
  return prefix .. table.concat({...}, ':')
end

-- Whatever touches a job renews all of its keys.
local function touch(job, ttl)
  call('PEXPIRE', key('job', job), ttl)
  call('PEXPIRE', key('job', job, 'queue'), ttl)
  call('PEXPIRE', key('job', job, 'events'), ttl)
end

-- The bell holds at most one token: it wakes one sleeper, and the lease that leaves work behind
-- rings again.
local function ring_bell(ttl)
  if call('LLEN', key('bell')) == 0 then
    call('RPUSH', key('bell'), '1')
  end
  call('PEXPIRE', key('bell'), ttl)
end

-- Tells the ring that the job has queued chunks, and wakes a worker.
local function announce(job, ttl)
  if not call('LPOS', KEYS[1], job) then
    call('RPUSH', KEYS[1], job)
  end
  call('PEXPIRE', KEYS[1], ttl)
  ring_bell(ttl)
end

-- Tells the client that a payload was not fit, so that it publishes the chunk again.
local function refuse(job, chunk, ttl)
  call('HINCRBY', key('job', job), 'rejected', 1)
  call('XADD', key('job', job, 'events'), '*', 'k', 'r', 'n', chunk)
  touch(job, ttl)
end

-- A worker is registered by whatever it does, so that its leases are looked after.
local function register(worker, slots, alive, ttl)
  call('SADD', key('workers'), worker)
  call('PEXPIRE', key('workers'), ttl)
  call('SET', key('alive', worker), slots, 'PX', alive)
end

-- A client is registered by whatever it does. The first command needs no memory, so that none is
-- refused for want of it.
local function greet(client, lease)
  if call('PEXPIRE', key('client', client), lease) == 0 then
    call('SET', key('client', client), '1', 'PX', lease)
  end
end

-- Closes a chunk of several tasks; they go back to the head as chunks of one, where they are neither
-- open nor settled.
local function split(job, chunk, payload)
  local hash = key('job', job)
  local first, n = string.match(chunk, '^(%d+)%+(%d+)$')
  call('HDEL', hash, 'p:' .. chunk)
  call('HSET', hash, 'c:' .. chunk, '1', 'd:' .. chunk, payload)
  for task = first + n - 1, first, -1 do
    local child = string.format('%d+1', task)
    if call('HEXISTS', hash, 'c:' .. child) == 0
      and call('HSETNX', hash, 'p:' .. child, '@' .. chunk) == 1 then
      call('LPUSH', key('job', job, 'queue'), job .. '/' .. child)
    end
  end
end
