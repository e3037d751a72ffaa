#!lua flags=allow-oom
-- Begins a new epoch of a shard whose rows were just written, with its first commit if there is one, in one step: what that decides is
-- in no row, so without it in the log the archive would never hear of it.
-- KEYS: 1 meta, 2 log
-- ARGV: 1 nonce, 2 turn, 3 the next turn, 4 the epoch, 5 the run id of this Redis, 6 the first commit or 0, 7 its frame or '', 8 the format
--       of the frame
-- Returns 1; 0 when the fence does not hold or the epoch is not above the present one: nothing was changed.
local now = redis.call('HMGET', KEYS[1], 'nonce', 'turn', 'epoch')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] or (now[3] and tonumber(now[3]) >= tonumber(ARGV[4])) then
    return 0
end
if ARGV[7] ~= '' then
    redis.call('XADD', KEYS[2], ARGV[4] .. '-' .. ARGV[6], ARGV[8], ARGV[7])
end
redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'epoch', ARGV[4], 'commit', ARGV[6], 'checkpoint', ARGV[4] .. '-0', 'run_id', ARGV[5])
redis.call('HDEL', KEYS[1], 'lost')
return 1
