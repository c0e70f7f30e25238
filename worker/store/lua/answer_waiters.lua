-- Gives the outcome of an open fan-out to the next FAN_OUT_AT_ONCE who wait in it.
-- ARGV[1] name of the fan-out, as settle returned it
-- Returns {how many wait still, code of the error or "", ids of the followers that have their
-- result now}.
-- uses: FAN_OUTS, FAN_OUT_AT_ONCE, FAN_OUT_FOLLOWERS, FAN_OUT_WAITERS, answer_each, clock
-- uses: close_fan_out, note_letter, read_fan_out, whole
local name = ARGV[1]
local waiters, now = FAN_OUT_WAITERS .. name, clock()

local ending, fingerprint = read_fan_out(name)
local ids = redis.call('ZRANGE', waiters, 0, FAN_OUT_AT_ONCE - 1)
redis.call('ZREMRANGEBYRANK', waiters, 0, FAN_OUT_AT_ONCE - 1)
local answered, left = {}, redis.call('ZCARD', waiters)
if ending then
  answered = answer_each(ids, FAN_OUT_FOLLOWERS .. name, ending, now)
  note_letter(name, ending)
end
if left == 0 or not ending then
  close_fan_out(name, fingerprint)
  return {0, ending and ending.error or '', unpack(answered)}
end
redis.call('ZADD', FAN_OUTS, whole(now), name)
return {left, ending.error, unpack(answered)}
