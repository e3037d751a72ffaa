-- Moves what Janus put onto its list into a stream: in one step, so that nothing is ever in neither.
-- KEYS: the list in hand, the list, the stream. ARGV: how many at most, the field of an entry.
-- Returns how many were moved.
local moved = 0
for _, list in ipairs({ KEYS[1], KEYS[2] }) do
    local left = tonumber(ARGV[1]) - moved
    local items = left > 0 and redis.call('LPOP', list, left) or false
    for _, item in ipairs(items or {}) do
        redis.call('XADD', KEYS[3], '*', ARGV[2], item)
        moved = moved + 1
    end
end
return moved
