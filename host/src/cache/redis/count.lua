-- Counts the distinct users of an event in one hour, approximately (HyperLogLog).
-- KEYS: the ranking of the hour, the users of the event. ARGV: event, user, and the lifetimes of both keys in milliseconds.
if redis.call('PFADD', KEYS[2], ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[1], redis.call('PFCOUNT', KEYS[2]), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 0
