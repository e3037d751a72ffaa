#!lua flags=allow-oom
-- Takes over entries whose consumer has shown nothing for too long. Each time counts as a delivery. First of all, what was given out and is
-- nobody's: somebody deleted its consumer (XGROUP DELCONSUMER), and Redis forgot with it that anything was pending.
-- KEYS: 1 stream
-- ARGV: 1 group, 2 consumer, 3 idle in ms, 4 cursor, 5 the most entries
-- Returns the next cursor (0-0 at the end), the entries, their delivery counts, the ids that were pending and are no longer in the
-- stream (somebody trimmed or deleted what was not done), and how many were nobody's.
local LOOKED_AT = 100

-- What of the stream was given out and is not pending; each is made pending, and as idle as what is taken over.
local function adopt()
    for _, facts in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
        local group = {}
        for i = 1, #facts, 2 do
            group[facts[i]] = facts[i + 1]
        end
        if group['name'] == ARGV[1] then
            -- Mostly counting tells that there is nothing; Redis knows no lag where something was deleted before it was given out.
            if group['lag'] and redis.call('XLEN', KEYS[1]) - group['lag'] - group['pending'] <= 0 then
                return 0
            end
            local adopted = 0
            for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', group['last-delivered-id'], 'COUNT', LOOKED_AT)) do
                if #redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1) == 0 then
                    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1], 'IDLE', ARGV[3], 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
                    adopted = adopted + 1
                end
            end
            return adopted
        end
    end
    return 0
end

local adopted = ARGV[4] == '0-0' and adopt() or 0
local answer = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local counts = {}
for i, entry in ipairs(answer[2]) do
    counts[i] = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1, ARGV[2])[1][4]
end
return {answer[1], answer[2], counts, answer[3], adopted}
