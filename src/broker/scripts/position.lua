#!lua flags=allow-oom
-- Notes where a device is and what its battery says, each unless something newer is known.
-- KEYS: 1 what was last heard of the device
-- ARGV: 1 time of the fix (UTC ms), 2 the position (JSON with fix_ms), or both empty; 3 battery (percent), 4 its time (UTC ms), or both empty
-- Returns which of the two were newer: 1 the position, 2 the battery, 3 both, 0 neither.
local newer = 0
if ARGV[1] ~= '' then
    local known = redis.call('HGET', KEYS[1], 'position')
    -- What does not read is not known.
    local read, position = pcall(cjson.decode, known or '')
    local fix_ms = read and type(position) == 'table' and tonumber(position.fix_ms) or -1
    if tonumber(ARGV[1]) > fix_ms then
        redis.call('HSET', KEYS[1], 'position', ARGV[2])
        newer = newer + 1
    end
end
if ARGV[3] ~= '' and tonumber(ARGV[4]) > (tonumber(redis.call('HGET', KEYS[1], 'battery_ms') or '') or -1) then
    redis.call('HSET', KEYS[1], 'battery', ARGV[3], 'battery_ms', ARGV[4])
    newer = newer + 2
end
return newer
