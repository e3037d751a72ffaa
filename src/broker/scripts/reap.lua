#!lua flags=allow-oom
-- Deletes the names of consumers that are gone. Deleting a consumer deletes what is pending for it, so only those without go, and it
-- is looked at again in the same moment.
-- KEYS: 1 stream
-- ARGV: 1 group, 2 idle in ms
-- Returns how many went.
local gone = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local about = {}
    for i = 1, #consumer, 2 do
        about[consumer[i]] = consumer[i + 1]
    end
    if about['pending'] == 0 and about['idle'] > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about['name'])
        gone = gone + 1
    end
end
return gone
