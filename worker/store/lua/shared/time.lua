-- Time, in ms of Redis's own clock, so that hosts need not agree on it.

-- Returns the time of Redis's host, which somebody can set back.
local function server_time()
  local seconds, micros = unpack(redis.call('TIME'))
  return seconds * 1000 + math.floor(micros / 1000)
end

-- Returns the time now. It never goes back: redis_up_seconds.lua notes each second how far it has
-- come, and by how much the server's clock was set back since.
-- uses: CLOCK, server_time
local function clock()
  local last, offset = unpack(redis.call('HMGET', CLOCK, 'last', 'offset'))
  return math.max(server_time() + (offset or 0), tonumber(last or 0))
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
    redis.call('PEXPIRE', key, whole(until_ms - now))  -- its own clock may differ from ours
  end
end
