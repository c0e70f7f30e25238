-- Writes the record of an API key, unless somebody else has changed it meanwhile.
-- ARGV[1] key id
-- ARGV[2] its record before, "" where there was none
-- ARGV[3] its record from now on, "" where there is to be none
-- Returns 1, also for a call that is sent again; 0 when another record was there.
-- uses: API_KEY_RECORDS, API_RATE
local id, before, after = ARGV[1], ARGV[2], ARGV[3]

local found = redis.call('HGET', API_KEY_RECORDS, id) or ''
if found == after then return 1 end
if found ~= before then return 0 end
if after == '' then
  redis.call('HDEL', API_KEY_RECORDS, id)
  redis.call('DEL', API_RATE .. id)
else
  redis.call('HSET', API_KEY_RECORDS, id, after)
end
return 1
