#!lua flags=allow-oom
-- Notes that Redis lost a part of a shard, and unseats its owner: whoever claims the shard next begins a new epoch, even if the one who
-- found out dies now.
-- KEYS: 1 meta
-- ARGV: 1 the owner's nonce, or '' from somebody else who knows, 2 how it shows
-- Returns 1; 0 when another one owns the shard: nothing was changed.
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'nonce', '', 'lost', ARGV[2])
return 1
