-- Merges the rankings of several hours and returns the top entries.
-- KEYS: the merged ranking, then the hours. ARGV: the number of entries, and the lifetime of the merge in milliseconds.
redis.call('ZUNIONSTORE', KEYS[1], #KEYS - 1, unpack(KEYS, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
