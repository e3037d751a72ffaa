#!lua flags=allow-oom
-- Takes over entries whose consumer has shown nothing for too long. Each time counts as a delivery.
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, 3 idle in ms, 4 cursor, 5 the most entries
-- Returns the next cursor (0-0 at the end), the entries, their delivery counts, and the ids that were pending and are no longer in the
-- stream: somebody trimmed or deleted what was not done.
local answer = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local counts = {}
for i, entry in ipairs(answer[2]) do
    counts[i] = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1, ARGV[2])[1][4]
end
return {answer[1], answer[2], counts, answer[3]}
