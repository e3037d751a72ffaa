#!lua flags=allow-oom
-- Shows that a consumer still works on its entries, so that nobody takes them. The delivery counts stay.
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, then ids
-- Returns the ids that are still the consumer's.
local kept = {}
for i = 3, #ARGV do
    if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
        table.insert(kept, ARGV[i])
    end
end
return kept
