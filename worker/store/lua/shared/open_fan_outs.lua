-- An open fan-out: many wait for one outcome and get it FAN_OUT_AT_ONCE at a time, so that Redis
-- serves others in between. Its waiters have left their group: whoever asks the same now, or does
-- not wait in it, begins a new one.

-- Sets all waiters of a fingerprint aside, with the outcome that is theirs. Returns the name.
-- uses: FAN_OUT, FAN_OUTS, FAN_OUTS_OF, FAN_OUT_FOLLOWERS, FAN_OUT_WAITERS, FOLLOWERS, WAITERS
-- uses: keep_until, latest_deadline, whole
local function open_fan_out(fingerprint, leader, ending, now)
  local name, rest = leader .. ':' .. whole(now), {}
  for field, value in pairs(ending) do rest[field] = value end
  rest.text = nil
  local until_ms = math.max(now, latest_deadline(fingerprint)) + ending.kept_seconds * 1000
  redis.call('RENAME', WAITERS .. fingerprint, FAN_OUT_WAITERS .. name)
  if redis.call('EXISTS', FOLLOWERS .. fingerprint) == 1 then
    redis.call('RENAME', FOLLOWERS .. fingerprint, FAN_OUT_FOLLOWERS .. name)
  end
  redis.call('HSET', FAN_OUT .. name, 'fingerprint', fingerprint, 'text', ending.text,
    'ending', cjson.encode(rest))
  redis.call('PEXPIREAT', FAN_OUT .. name, whole(until_ms))
  redis.call('SADD', FAN_OUTS_OF .. fingerprint, name)
  keep_until(FAN_OUTS_OF .. fingerprint, until_ms, now)
  redis.call('ZADD', FAN_OUTS, whole(now), name)
  return name
end

-- Returns the outcome of an open fan-out and its fingerprint; nil when it is over.
-- uses: FAN_OUT, read
local function read_fan_out(name)
  local kept = read(FAN_OUT .. name, 'fingerprint', 'text', 'ending', 'letter')
  if not kept.ending then return nil end
  local ending = cjson.decode(kept.ending)
  ending.text, ending.savings = kept.text, ending.savings or {}
  if kept.letter then ending.letter_due = nil end
  return ending, kept.fingerprint
end

-- Remembers that the dead letter of a fan-out is there.
-- uses: FAN_OUT
local function note_letter(name, ending)
  if ending.letter_due or redis.call('HEXISTS', FAN_OUT .. name, 'letter') == 1 then return end
  redis.call('HSET', FAN_OUT .. name, 'letter', '1')
end

-- Returns the open fan-out that a job waits in; nil when there is none.
-- uses: FAN_OUTS_OF, FAN_OUT_WAITERS
local function fan_out_of(fingerprint, id)
  for _, name in ipairs(redis.call('SMEMBERS', FAN_OUTS_OF .. fingerprint)) do
    if redis.call('ZSCORE', FAN_OUT_WAITERS .. name, id) then return name end
  end
end

-- Takes a job out of the open fan-out that it waits in, if any.
-- uses: FAN_OUT_FOLLOWERS, FAN_OUT_WAITERS, fan_out_of
local function leave_fan_out(fingerprint, id)
  local name = fan_out_of(fingerprint, id)
  if not name then return end
  redis.call('ZREM', FAN_OUT_WAITERS .. name, id)
  redis.call('HDEL', FAN_OUT_FOLLOWERS .. name, id)
end

-- Ends a fan-out in which nobody waits any more.
-- uses: FAN_OUT, FAN_OUTS, FAN_OUTS_OF, FAN_OUT_FOLLOWERS, FAN_OUT_WAITERS
local function close_fan_out(name, fingerprint)
  redis.call('DEL', FAN_OUT .. name, FAN_OUT_WAITERS .. name, FAN_OUT_FOLLOWERS .. name)
  redis.call('ZREM', FAN_OUTS, name)
  if fingerprint then redis.call('SREM', FAN_OUTS_OF .. fingerprint, name) end
end
