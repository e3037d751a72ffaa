-- Announces a recording unless it was before: guard and push are one, so that neither a lost answer nor a failover comes between them.
-- KEYS: the guard, the list. ARGV: the item, how long the guard stands, seconds.
-- Returns 1 when it was pushed, 0 when it had been.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then
    return 0
end
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
