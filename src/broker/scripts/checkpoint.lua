-- Writes rows of a shard's state, if the caller still owns it.
-- KEYS: 1 meta, 2 state
-- ARGV: 1 nonce, 2 the checkpoint `<epoch>-<commit>` once these rows are in, or '' when more follow, 3 how many fields to delete (n), then n
--       fields, then fields and values in turn
-- Returns 1; 0 when another one owns the shard: nothing was changed.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
    return 0
end
local first = 4 + tonumber(ARGV[3])
for i = 4, first - 1 do
    redis.call('HDEL', KEYS[2], ARGV[i])
end
for i = first, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
if ARGV[2] ~= '' then
    redis.call('HSET', KEYS[1], 'checkpoint', ARGV[2])
end
return 1
