-- Moves the deadlines of sessions that showed that they live; one that is gone stays away.
-- KEYS: 1 deadlines of the shard
-- ARGV: for each session its deadline (UTC ms) and its member of the deadlines
-- Returns the members that are gone: they were displaced, swept, or lost.
local gone = {}
for i = 1, #ARGV, 2 do
    if redis.call('ZSCORE', KEYS[1], ARGV[i + 1]) then
        redis.call('ZADD', KEYS[1], 'XX', ARGV[i], ARGV[i + 1])
    else
        table.insert(gone, ARGV[i + 1])
    end
end
return gone
