#!lua flags=allow-oom
-- Tells the time of the fleet. It goes on by the clock of Redis while that goes evenly. Where it jumps (somebody set it, or this is another
-- server with another clock), it is what the next caller knows it to be, and comes back to the clock of Redis slowly: by a quarter of
-- the time that passes; at once when it is off by more than a day, which nobody can wait for.
-- KEYS: 1 clock
-- ARGV: 1 what time the caller knows it to be (UTC ms), or '' when it was never told, 2 '1' when it need not wait for others who know
-- Returns the time (UTC ms); nil when it jumped, or nobody asked for seconds: then whoever knows is to say.
local EVEN_MS, WRITE_MS, DAY_MS = 3000, 500, 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'fleet_ms', 'redis_ms')
local fleet, last = tonumber(known[1] or ''), tonumber(known[2] or '')
local passed = fleet and last and now - last
if passed and math.abs(passed) <= EVEN_MS then
    passed = math.max(passed, 0)
    fleet = fleet + passed
    local off, step = now - fleet, math.floor(passed / 4)
    fleet = fleet + math.max(-step, math.min(step, off))
elseif ARGV[1] ~= '' then
    fleet, passed = tonumber(ARGV[1]), nil
elseif not passed or ARGV[2] == '1' then
    fleet, passed = now, nil
else
    return false
end
if math.abs(now - fleet) > DAY_MS then
    fleet, passed = now, nil
end
-- Not by each of many who ask.
if not passed or passed >= WRITE_MS then
    redis.call('HSET', KEYS[1], 'fleet_ms', fleet, 'redis_ms', now)
end
return fleet
