#!lua flags=allow-oom
-- Writes rows of a shard's state, if the caller still owns it and nothing it wrote was lost.
-- KEYS: 1 meta, 2 state
-- ARGV: 1 nonce, 2 turn, 3 the next turn, 4 the checkpoint `<epoch>-<commit>` once these rows are in, or '' when that is not yet so,
--       5 how many fields to delete (n), then n fields, then fields and values in turn
-- Returns 1; 0 when the fence does not hold (another owner, or a lost write): nothing was changed.
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'turn')
if fence[1] ~= ARGV[1] or fence[2] ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'turn', ARGV[3])
local first = 6 + tonumber(ARGV[5])
for i = 6, first - 1 do
    redis.call('HDEL', KEYS[2], ARGV[i])
end
for i = first, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[1], 'checkpoint', ARGV[4])
end
return 1
