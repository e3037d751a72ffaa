-- Closes a session, unless another one has taken its place; with the last one goes how well the user heard and was heard, and the user's
-- shard hears of it.
-- KEYS: 1 presence of the user, 2 deadlines of the user's shard, 3 input of that shard, 4 what was last heard of the user
-- ARGV: 1 installation (hex), 2 member of the deadlines, 3 when it is only to be closed if it has lapsed by then (UTC ms), else empty,
--       4 the name of the field of a stream entry, 5 the frame that tells of it
-- Returns 1 when it was open, else 0.
if ARGV[3] ~= '' then
    local deadline = redis.call('ZSCORE', KEYS[2], ARGV[2])
    if not deadline or tonumber(deadline) > tonumber(ARGV[3]) then
        return 0
    end
end
redis.call('ZREM', KEYS[2], ARGV[2])
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and cjson.decode(known)['member'] == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    if redis.call('EXISTS', KEYS[1]) == 0 then
        redis.call('HDEL', KEYS[4], 'quality')
        redis.call('XADD', KEYS[3], '*', ARGV[4], ARGV[5])
    end
    return 1
end
return 0
