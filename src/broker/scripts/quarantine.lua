-- Puts an input entry that keeps killing its owner aside: moves the shard's input position behind it.
-- KEYS: 1 meta
-- ARGV: 1 nonce, 2 turn, 3 the next turn, 4 the field of the position (`in` or `urgent`), 5 the id of the entry
-- Returns 1; 0 when the fence does not hold (another owner, or a lost write): nothing was changed.
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'turn')
if fence[1] ~= ARGV[1] or fence[2] ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'turn', ARGV[3], ARGV[4], ARGV[5], 'deaths', '0')
return 1
