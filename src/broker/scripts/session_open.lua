-- Opens a session of a user. A device has one session: all others are displaced; a dispatcher has one for each installation. The user's
-- shard hears when it is the first one.
-- KEYS: 1 presence of the user, 2 deadlines of the user's shard, 3 input of that shard, 4 revocations of the user
-- ARGV: 1 installation (hex), 2 the session (JSON with "session" and "edge"), 3 deadline (UTC ms), 4 member of the deadlines, 5 "1" when
--       the user may have only one session, 6 "1" to open it again only where no other session would be displaced, 7 the name of the
--       field of a stream entry, 8 the frame that tells of it, 9 when its access token was signed (UTC ms)
-- Returns the JSON of each session that was displaced; nil when it was not opened again, 1 when that is for one of the same installation, 0 when its
-- token was called back.
local void = redis.call('HGET', KEYS[4], ARGV[1]) or redis.call('HGET', KEYS[4], '0')
if void and tonumber(ARGV[9]) <= tonumber(void) then
    return 0
end
local displaced = {}
local known = redis.call('HGETALL', KEYS[1])
if ARGV[6] == '1' then
    for i = 1, #known, 2 do
        if (known[i] == ARGV[1] or ARGV[5] == '1') and cjson.decode(known[i + 1])['member'] ~= ARGV[4] then
            return known[i] == ARGV[1] and 1
        end
    end
end
for i = 1, #known, 2 do
    if known[i] == ARGV[1] or ARGV[5] == '1' then
        table.insert(displaced, known[i + 1])
        redis.call('HDEL', KEYS[1], known[i])
        local old = cjson.decode(known[i + 1])
        redis.call('ZREM', KEYS[2], old['member'])
    end
end
-- One that opens again was told of before.
if #known == 0 and ARGV[6] ~= '1' then
    redis.call('XADD', KEYS[3], '*', ARGV[7], ARGV[8])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
return displaced
