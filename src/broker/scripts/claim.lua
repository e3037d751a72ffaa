-- Makes the caller the owner of a shard: from now on only its commits are accepted.
-- KEYS: 1 meta, 2 lease
-- ARGV: 1 the caller's name in the lease, 2 its nonce
-- Returns `token` and `deaths` as of the claim, and the fields and values of meta as they were before it; nil when the lease is somebody
-- else's.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return false
end
local before = redis.call('HGETALL', KEYS[1])
local token = redis.call('HINCRBY', KEYS[1], 'token', 1)
local deaths = 0
if redis.call('HGET', KEYS[1], 'clean') == '0' then
    deaths = redis.call('HINCRBY', KEYS[1], 'deaths', 1)
end
redis.call('HSET', KEYS[1], 'nonce', ARGV[2], 'clean', '0')
return {token, deaths, before}
