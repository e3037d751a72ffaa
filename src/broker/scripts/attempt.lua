#!lua flags=allow-oom
-- Says that the owner is about to step what is in front: if this stays its last word, that may have killed it.
-- KEYS: 1 meta
-- ARGV: 1 nonce, 2 turn, 3 the next turn, 4 the index of the item in the first frame, or '' for all of what is in front
-- Returns 1; 0 when the fence does not hold (another owner, or a lost write): nothing was changed.
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'turn')
if fence[1] ~= ARGV[1] or fence[2] ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'trying', ARGV[3], 'item', ARGV[4])
return 1
