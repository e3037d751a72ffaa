-- Moves a shard forward by one commit, if the caller still owns it and nothing was lost.
-- KEYS: 1 meta, 2 log, 3 in, 4 urgent
-- ARGV: 1 nonce, 2 epoch, 3 the previous commit, 4 the new commit, 5 the log frame or '', 6 and 7 the last ids taken in of in and urgent
--       ('' for none), 8 and 9 the first ids to keep of them, 10 forwarded or '', 11 the format of the frame
-- Returns 1; 0 when the fence does not hold (another owner, or a lost tail): nothing was changed.
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'commit')
if fence[1] ~= ARGV[1] or fence[2] ~= ARGV[2] or fence[3] ~= ARGV[3] then
    return 0
end
if ARGV[5] ~= '' then
    redis.call('XADD', KEYS[2], ARGV[2] .. '-' .. ARGV[4], ARGV[11], ARGV[5])
end
redis.call('HSET', KEYS[1], 'commit', ARGV[4], 'deaths', '0')
if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[1], 'in', ARGV[6])
    redis.call('XTRIM', KEYS[3], 'MINID', ARGV[8])
end
if ARGV[7] ~= '' then
    redis.call('HSET', KEYS[1], 'urgent', ARGV[7])
    redis.call('XTRIM', KEYS[4], 'MINID', ARGV[9])
end
if ARGV[10] ~= '' then
    redis.call('HSET', KEYS[1], 'forwarded', ARGV[10])
end
return 1
