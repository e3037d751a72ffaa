#!lua flags=allow-oom
-- Places devices of a tenant, each unless a newer fix placed it.
-- KEYS: 1 GEO set, 2 devices near the poles, 3 devices by the time of their fix
-- ARGV: for each device its id, the time of the fix (UTC ms), the longitude and the latitude (degrees)
-- Returns how many were placed.
local placed = 0
for i = 1, #ARGV, 4 do
    local device, fix_ms, longitude, latitude = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local known = redis.call('ZSCORE', KEYS[3], device)
    if not known or tonumber(fix_ms) > tonumber(known) then
        redis.call('ZADD', KEYS[3], fix_ms, device)
        -- GEOADD takes no place beyond.
        if math.abs(tonumber(latitude)) > 85.05 then
            redis.call('ZREM', KEYS[1], device)
            redis.call('HSET', KEYS[2], device, latitude .. ' ' .. longitude)
        else
            redis.call('HDEL', KEYS[2], device)
            redis.call('GEOADD', KEYS[1], longitude, latitude, device)
        end
        placed = placed + 1
    end
end
return placed
