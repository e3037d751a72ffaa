#!lua flags=allow-oom
-- Moves a shard forward by one commit, if the caller still owns it and nothing it wrote was lost.
-- KEYS: 1 meta, 2 log, 3 in, 4 urgent
-- ARGV: 1 nonce, 2 turn, 3 the next turn, 4 epoch, 5 the commit, 6 the log frame or '', 7 the format of the frame, 8 and 9 the last ids
--       taken in of in and urgent ('' for none), 10 and 11 the first ids to keep of them
-- Returns 1; 0 when the fence does not hold (another owner, or a lost write): nothing was changed.
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'turn')
if fence[1] ~= ARGV[1] or fence[2] ~= ARGV[2] then
    return 0
end
if ARGV[6] ~= '' then
    redis.call('XADD', KEYS[2], ARGV[4] .. '-' .. ARGV[5], ARGV[7], ARGV[6])
end
redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'commit', ARGV[5], 'deaths', '0')
if ARGV[8] ~= '' then
    redis.call('HSET', KEYS[1], 'in', ARGV[8])
    redis.call('XTRIM', KEYS[3], 'MINID', ARGV[10])
end
if ARGV[9] ~= '' then
    redis.call('HSET', KEYS[1], 'urgent', ARGV[9])
    redis.call('XTRIM', KEYS[4], 'MINID', ARGV[11])
end
return 1
