#!lua flags=allow-oom
-- Keeps a lease.
-- KEYS: 1 lease
-- ARGV: 1 the caller's name, 2 the lifetime in ms
-- Returns 1 when the lease is the caller's, taking it if nobody has it; else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
