-- Time, in ms of Redis's own clock, so that hosts need not agree on it.

-- Returns the time now.
local function clock()
  local seconds, micros = unpack(redis.call('TIME'))
  return seconds * 1000 + math.floor(micros / 1000)
end

-- Writes a number without an exponent and without a fraction.
local function whole(number)
  return string.format('%.0f', number)
end

-- Returns how long ago something was; nil when nobody knows when it was.
local function elapsed(since_ms, now)
  return since_ms and math.max(0, now - since_ms) or nil
end

-- Lets a key live at least until a time.
-- uses: whole
local function keep_until(key, until_ms, now)
  if redis.call('PTTL', key) < until_ms - now then
    redis.call('PEXPIREAT', key, whole(until_ms))
  end
end
