-- Counts a failed attempt at an entry, if it is still the caller's; and keeps what went wrong the first time.
-- KEYS: 1 stream, 2 failures
-- ARGV: 1 group, 2 consumer, 3 id, 4 what went wrong
-- Returns how often it failed; 0 when the entry is no longer the consumer's: nothing was changed.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then
    return 0
end
redis.call('HSETNX', KEYS[2], ARGV[3] .. ':why', ARGV[4])
return redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
