#!lua flags=allow-oom
-- Commits a change of an alert with everything that is to be done about it, if nobody changed it meanwhile.
-- KEYS: 1 alert, 2 open alerts, 3 due alerts, 4 tells, 5 texts, 6 events, 7 the press that is taken in, or the alert when it is none,
--       8 cancels
-- ARGV: 1 alert, 2 version the change was made of (0: a new alert), 3 version now, 4 device, 5 state, 6 due (UTC ms, or empty), 7 "1" when it
--       is over, 8 how long to keep one that is over (ms), 9 how long to know a press (ms), 10 field name of a stream entry, 11 id of the
--       stream entry that opens the alert (or empty), 12 number of tells, 13 number of texts, then the tells, the texts, and the events
-- Returns 1; 0 when the alert has another version, or the device has another open alert; 2 when the press is known, or was
-- taken back by a later entry. Then nothing was changed.
local version = redis.call('HGET', KEYS[1], 'version')
if (version or '0') ~= ARGV[2] then
    return 0
end
if ARGV[2] == '0' and redis.call('HEXISTS', KEYS[2], ARGV[4]) == 1 then
    return 0
end
-- Whether one id of a stream is above another.
local function above(one, other)
    local high, low = one:match('(%d+)-(%d+)')
    local other_high, other_low = other:match('(%d+)-(%d+)')
    high, low, other_high, other_low = tonumber(high), tonumber(low), tonumber(other_high), tonumber(other_low)
    return high > other_high or high == other_high and low > other_low
end
local cancelled = ARGV[11] ~= '' and redis.call('HGET', KEYS[8], ARGV[4])
if cancelled and above(cancelled, ARGV[11]) then
    return 2
end
if KEYS[7] ~= KEYS[1] then
    if redis.call('EXISTS', KEYS[7]) == 1 then
        return 2
    end
    redis.call('SET', KEYS[7], ARGV[1], 'PX', ARGV[9])
end
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'device', ARGV[4], 'state', ARGV[5])
if ARGV[7] == '1' then
    -- By then the device may have another one.
    if redis.call('HGET', KEYS[2], ARGV[4]) == ARGV[1] then
        redis.call('HDEL', KEYS[2], ARGV[4])
    end
    redis.call('ZREM', KEYS[3], ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[8])
else
    redis.call('HSET', KEYS[2], ARGV[4], ARGV[1])
    if ARGV[6] == '' then
        redis.call('ZREM', KEYS[3], ARGV[1])
    else
        redis.call('ZADD', KEYS[3], ARGV[6], ARGV[1])
    end
end
local at = 14
for _ = 1, tonumber(ARGV[12]) do
    redis.call('XADD', KEYS[4], '*', ARGV[10], ARGV[at])
    at = at + 1
end
for _ = 1, tonumber(ARGV[13]) do
    redis.call('XADD', KEYS[5], '*', ARGV[10], ARGV[at])
    at = at + 1
end
while ARGV[at] do
    redis.call('XADD', KEYS[6], '*', ARGV[10], ARGV[at])
    at = at + 1
end
return 1
