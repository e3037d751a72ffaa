-- Notes an epoch of the SQL primary, which never goes back.
-- KEYS: 1 the epoch
-- ARGV: 1 an epoch, 0 for none
-- Returns the highest epoch ever noted; 0 for none.
local held = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local said = tonumber(ARGV[1])
if said > held then
    redis.call('SET', KEYS[1], ARGV[1])
    return said
end
return held
