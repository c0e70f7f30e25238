-- Looks up the API key of a request and counts the request against the key's rate: each request
-- moves the time at which all that came would be worked off, and it may lie a whole period ahead.
-- ARGV[1] key id
-- ARGV[2] SHA-256 of the secret that came with the request, hex
-- ARGV[3] the key's record, JSON, where a file holds it; "" = look it up
-- Returns {record, ms until this request may come, 0 = now, the SHA-256 of each secret that holds
-- now}. The record is "" for another secret, with which a request does not count, and for a key
-- that is not known or has expired. One that is sent again, as the reply was lost, counts again.
-- uses: API_KEY_RECORDS, API_RATE, clock, whole
local id, presented, record = ARGV[1], ARGV[2], ARGV[3]

if record == '' then record = redis.call('HGET', API_KEY_RECORDS, id) or '' end
local is_json, key = pcall(cjson.decode, record)
if not is_json or type(key) ~= 'table' or type(key.secrets) ~= 'table' then return {'', 0} end
local now = clock()
if key.expires_ms and now >= key.expires_ms then return {'', 0} end

-- Lua keeps each text once, so it compares these in the same time whatever they hold.
local holding, is_right = {}, false
for _, secret in ipairs(key.secrets) do
  if not secret.until_ms or now < secret.until_ms then
    table.insert(holding, secret.sha256)
    is_right = is_right or secret.sha256 == presented
  end
end

-- Returns ms until a request may come, or counts it and returns 0.
local function wait_ms(rate)
  local period_ms = rate.seconds * 1000
  -- However far a clock was set back, no more than one period is worked off.
  local before = math.min(tonumber(redis.call('GET', API_RATE .. id) or 0), now + period_ms)
  local after = math.max(before, now) + period_ms / rate.count
  local ahead = after - now
  if ahead - period_ms >= 1 then return math.ceil(ahead - period_ms) end
  redis.call('HDEL', API_KEY_RECORDS, '')  -- a first write that needs no memory, as in renew.lua
  redis.call('SET', API_RATE .. id, string.format('%.3f', after), 'PX', whole(math.ceil(ahead)))
  return 0
end

if not is_right then return {'', 0, unpack(holding)} end
return {record, key.rate and wait_ms(key.rate) or 0, unpack(holding)}
