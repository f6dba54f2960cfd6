-- Makes room for the parts of a blob, with a time to live from the start: a client that dies between
-- two commands leaves nothing for ever.
-- ARGV: hash, number of parts, ttl (ms).
local blob = key('blob', ARGV[1])
call('HSETNX', blob, 'parts', ARGV[2])
call('PEXPIRE', blob, ARGV[3])
