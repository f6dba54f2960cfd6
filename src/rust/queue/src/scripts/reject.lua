-- A payload that a worker could not open is taken out, unless it has been replaced since, and the
-- client is told, which publishes the genuine one.
-- ARGV: worker, job, chunk, ttl (ms), name under which the payload is sealed, the payload refused.
local worker, job, chunk, ttl, name, refused = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local hash = key('job', job)
local entry, queue = job .. '/' .. chunk, key('job', job, 'queue')
local held = call('LREM', key('leased', worker), 0, entry) > 0
if call('EXISTS', hash) == 0 then
  return 0
end
if name ~= chunk and call('HGET', hash, 'd:' .. name) == refused then
  call('HDEL', hash, 'd:' .. name)
end
if name ~= chunk or call('HGET', hash, 'p:' .. chunk) == refused then
  call('HDEL', hash, 'p:' .. chunk)
end
-- What stands there is not what was refused: it was spoilt on the way, so it is handed out again.
if held and call('HEXISTS', hash, 'p:' .. chunk) == 1 and not call('LPOS', queue, entry) then
  call('LPUSH', queue, entry)
  announce(job, ttl)
end
refuse(job, chunk, ttl)
return 1
