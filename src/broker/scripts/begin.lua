-- Begins a new epoch of a shard whose whole state was just written as a checkpoint.
-- KEYS: 1 meta
-- ARGV: 1 nonce, 2 the epoch, 3 the run id of this Redis
-- Returns 1; 0 when another one owns the shard or the epoch is not above the present one: nothing was changed.
local now = redis.call('HMGET', KEYS[1], 'nonce', 'epoch')
if now[1] ~= ARGV[1] or (now[2] and tonumber(now[2]) >= tonumber(ARGV[2])) then
    return 0
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'commit', '0', 'checkpoint', ARGV[2] .. '-0', 'forwarded', ARGV[2] .. '-0', 'run_id', ARGV[3])
return 1
