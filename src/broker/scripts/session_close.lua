-- Closes a session, unless another one has taken its place.
-- KEYS: 1 presence of the user, 2 deadlines of the user's shard
-- ARGV: 1 installation (hex), 2 member of the deadlines
-- Returns 1 when it was open, else 0.
redis.call('ZREM', KEYS[2], ARGV[2])
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and cjson.decode(known)['member'] == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    return 1
end
return 0
