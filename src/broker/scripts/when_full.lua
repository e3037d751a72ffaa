#!lua flags=allow-oom
-- Runs one small command also when memory is full: a heartbeat, or a note of what was done. Without these nobody would work, and nothing be
-- freed.
-- KEYS: 1 the key of the command
-- ARGV: the command, then its arguments behind the key
-- Returns what the command does.
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
