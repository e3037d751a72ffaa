#!lua flags=allow-oom
-- Gives entries back at a clean stop, as if they had never been delivered to this consumer: the next reclaim takes them at once.
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, then ids
-- Returns how many were still the consumer's.
local given = 0
for i = 3, #ARGV do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
    if pending then
        local count = math.max(pending[4] - 1, 0)
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'TIME', 0, 'RETRYCOUNT', count, 'JUSTID')
        given = given + 1
    end
end
return given
