-- Opens a session of a user. A device has one session: all others are displaced; a dispatcher has one for each installation.
-- KEYS: 1 presence of the user, 2 deadlines of the user's shard
-- ARGV: 1 installation (hex), 2 the session (JSON with "session" and "edge"), 3 deadline (UTC ms), 4 member of the deadlines, 5 "1" when
--       the user may have only one session
-- Returns the JSON of each session that was displaced.
local displaced = {}
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
    if known[i] == ARGV[1] or ARGV[5] == '1' then
        table.insert(displaced, known[i + 1])
        redis.call('HDEL', KEYS[1], known[i])
        local old = cjson.decode(known[i + 1])
        redis.call('ZREM', KEYS[2], old['member'])
    end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
return displaced
