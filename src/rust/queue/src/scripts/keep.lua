-- Who keeps the cluster up, and of what size it shall be.
-- ARGV: the client, its lease in ms, the time to live of the size in ms.
-- Returns {whether the client keeps it, least, most}; the sizes are absent where nobody changed them.
local keeper, size = key('keeper'), key('size')
local mine = call('GET', keeper) == ARGV[1]
if mine then
  call('PEXPIRE', keeper, ARGV[2])
else
  mine = call('SET', keeper, ARGV[1], 'NX', 'PX', ARGV[2])
end
call('PEXPIRE', size, ARGV[3])
local sizes = call('HMGET', size, 'least', 'most')
return {mine and 1 or 0, sizes[1], sizes[2]}
