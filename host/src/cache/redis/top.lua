-- The first of the rankings of some hours together.
-- KEYS: where to put them together, then the hours. ARGV: how many, and a lifetime in milliseconds.
redis.call('ZUNIONSTORE', KEYS[1], #KEYS - 1, unpack(KEYS, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
