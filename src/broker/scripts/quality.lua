-- Keeps how well a user hears and is heard, if the user is on the air.
-- KEYS: 1 presence of the user, 2 what was last heard of the user
-- ARGV: 1 the report (JSON)
-- Returns 1 when it was kept, else 0.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[2], 'quality', ARGV[1])
return 1
