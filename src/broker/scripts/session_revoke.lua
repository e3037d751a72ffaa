-- Notes up to when signed access tokens of a user are void, and finds the sessions that were opened with such tokens.
-- KEYS: 1 presence of the user, 2 revocations of the user
-- ARGV: 1 how long to keep them (ms), then for each installation (hex, 0 for all without one of their own) the time (UTC ms)
-- Returns the JSON of those sessions; they stay.
for i = 2, #ARGV, 2 do
    local known = redis.call('HGET', KEYS[2], ARGV[i])
    if not known or tonumber(known) < tonumber(ARGV[i + 1]) then
        redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    end
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
local void = {}
local sessions = redis.call('HGETALL', KEYS[1])
for i = 1, #sessions, 2 do
    local before = redis.call('HGET', KEYS[2], sessions[i]) or redis.call('HGET', KEYS[2], '0')
    if before and (cjson.decode(sessions[i + 1])['issued_ms'] or 0) <= tonumber(before) then
        table.insert(void, sessions[i + 1])
    end
end
return void
