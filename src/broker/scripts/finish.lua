#!lua flags=allow-oom
-- Completes an entry of a consumer group, if it is still the caller's: acknowledges and deletes it.
-- KEYS: 1 stream, 2 failures
-- ARGV: 1 group, 2 consumer, 3 id
-- Returns 1; 0 when the entry is no longer the consumer's: nothing was changed.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then
    return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[3], ARGV[3] .. ':why')
return 1
