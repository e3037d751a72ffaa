#!lua flags=allow-oom
-- Makes the caller the owner of a shard: from now on only its writes are accepted.
-- KEYS: 1 meta, 2 lease
-- ARGV: 1 the caller's name in the lease, 2 its nonce
-- Returns `token`, `turn` and `deaths` as of the claim, the item that the last owner had in hand or '', and the fields and values of meta as
-- they were before it; nil when the lease is somebody else's.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return false
end
local before = redis.call('HGETALL', KEYS[1])
local last = redis.call('HMGET', KEYS[1], 'clean', 'deaths', 'trying', 'turn', 'item')
local deaths = tonumber(last[2] or '0')
local tried = last[3] and last[3] == last[4]
if last[1] == '0' and (deaths == 0 or tried) then
    -- The first one is only a suspicion: whoever died may have had nothing in hand. From then on owners say when they have.
    deaths = deaths + 1
end
local token = redis.call('HINCRBY', KEYS[1], 'token', 1)
local turn = redis.call('HINCRBY', KEYS[1], 'turn', 1)
redis.call('HSET', KEYS[1], 'nonce', ARGV[2], 'clean', '0', 'deaths', deaths)
return {token, turn, deaths, tried and last[5] or '', before}
