-- Takes the sessions of a shard off whose deadline has passed: their edge died, or slept.
-- KEYS: 1 deadlines of the shard
-- ARGV: 1 now (UTC ms), 2 the most to take, 3 the prefix of the presence keys of this shard
-- Returns the members taken: `<user> <installation hex> <session hex>`.
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(gone) do
    redis.call('ZREM', KEYS[1], member)
    local user, installation = string.match(member, '^(%d+) (%x+) %x+$')
    if user then
        local known = redis.call('HGET', ARGV[3] .. user, installation)
        if known and cjson.decode(known)['member'] == member then
            redis.call('HDEL', ARGV[3] .. user, installation)
        end
    end
end
return gone
