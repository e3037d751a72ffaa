#!lua flags=allow-oom
-- Gives a shard up cleanly: a next owner may take it at once.
-- KEYS: 1 meta, 2 lease
-- ARGV: 1 the caller's name in the lease, 2 its nonce ('' when it keeps no meta)
-- Returns 1 when the lease was the caller's, else 0.
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'nonce') == ARGV[2] then
    redis.call('HSET', KEYS[1], 'clean', '1')
end
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
    return 1
end
return 0
