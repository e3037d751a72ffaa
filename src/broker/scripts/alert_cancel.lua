#!lua flags=allow-oom
-- Notes by which entry of the stream a device took SOS back last. Entries are worked on in any order: an earlier one changes nothing.
-- KEYS: 1 cancels
-- ARGV: 1 device, 2 id of the entry
-- Returns 1; 0 when a later entry is noted.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
    local high, low = known:match('(%d+)-(%d+)')
    local new_high, new_low = ARGV[2]:match('(%d+)-(%d+)')
    high, low, new_high, new_low = tonumber(high), tonumber(low), tonumber(new_high), tonumber(new_low)
    if high > new_high or high == new_high and low > new_low then
        return 0
    end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
