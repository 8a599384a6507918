-- One step of the generic cell rate algorithm, as in gcra.rs. Times are microseconds.
-- KEYS: the bucket. ARGV: now, the cost of one request, the capacity of the bucket.
local now, cost, capacity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = tonumber(redis.call('GET', KEYS[1]) or '')
local ahead = 0
-- A bucket too far ahead counts as empty. A value that is not a number counts as a missing bucket.
if full_at and full_at == full_at then
  ahead = math.min(math.max(full_at - now, 0), capacity)
end
if ahead + cost > capacity then
  return {0, ahead}
end
ahead = ahead + cost
redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 1)
return {1, ahead}
