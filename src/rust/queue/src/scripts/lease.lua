-- Leases chunks to a worker's free slots. What stands in the worker's list without being held (a
-- reply lost on the wire, a rollback) is handed out first; then the jobs of the ring take turns.
-- ARGV: worker, slots, alive (ms), ttl (ms), free, held entries...
-- Returns a list of {entry, attempt, name under which the payload is sealed, payload}.
local worker, slots, alive, ttl, free = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local leased = key('leased', worker)
local held, handed = {}, {}
for i = 6, #ARGV do
  held[ARGV[i]] = true
end
-- Refused first when Redis is out of memory: then nothing is leased.
register(worker, slots, alive, ttl)

-- Whether nobody waits for the job: its client's lease has run out.
local waited_for = {}
local function orphan(job)
  if waited_for[job] == nil then
    local client = call('HGET', key('job', job), 'client')
    waited_for[job] = not client or call('EXISTS', key('client', client)) == 1
  end
  return not waited_for[job]
end

local function hand_out(entry)
  local job, chunk = string.match(entry, '^([^/]+)/([^/]+)$')
  local hash = job and key('job', job)
  local payload = job and call('HGET', hash, 'p:' .. chunk)
  local name = chunk
  if payload and string.sub(payload, 1, 1) == '@' then
    name = string.sub(payload, 2)
    payload = call('HGET', hash, 'd:' .. name)
  end
  if not payload then
    call('LREM', leased, 0, entry)
    -- Open, but what it shares with its siblings is gone: it must not stay so, in no list.
    if job and call('HDEL', hash, 'p:' .. chunk) == 1 then
      refuse(job, chunk, ttl)
    end
    return
  end
  if orphan(job) then
    call('LREM', leased, 0, entry)
    call('LPUSH', key('job', job, 'queue'), entry)
    touch(job, ttl)
    return
  end
  local attempt = call('HINCRBY', hash, 'a:' .. chunk, 1)
  call('HSET', hash, 's:' .. chunk, attempt)
  touch(job, ttl)
  handed[#handed + 1] = {entry, attempt, name, payload}
end

for _, entry in ipairs(call('LRANGE', leased, 0, -1)) do
  if not held[entry] and #handed < free then
    hand_out(entry)
  end
end
while #handed < free do
  local job = call('LMOVE', KEYS[1], KEYS[1], 'LEFT', 'RIGHT')
  if not job then
    break
  end
  local queue = key('job', job, 'queue')
  -- A client that comes back tells the ring.
  local entry = not orphan(job) and call('LMOVE', queue, leased, 'LEFT', 'RIGHT')
  if entry then
    hand_out(entry)
  end
  if orphan(job) or call('LLEN', queue) == 0 then
    call('LREM', KEYS[1], 0, job)
  end
end
call('PEXPIRE', leased, ttl)
if call('LLEN', KEYS[1]) > 0 then
  ring_bell(ttl)
end
return handed
