-- Counts the users of an event in an hour: about as many as there are, in little memory, however often each came.
-- KEYS: the hour's ranking, the event's users. ARGV: event, user, and the lifetimes of both in milliseconds.
if redis.call('PFADD', KEYS[2], ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[1], redis.call('PFCOUNT', KEYS[2]), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 0
