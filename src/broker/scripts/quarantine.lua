-- Puts an input entry that keeps killing its owner aside: moves the shard's input position behind it.
-- KEYS: 1 meta
-- ARGV: 1 nonce, 2 the field of the position (`in` or `urgent`), 3 the id of the entry
-- Returns 1; 0 when another one owns the shard: nothing was changed.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], 'deaths', '0')
return 1
