-- Tells for how long somebody waits for what a job generates.
-- ARGV[1] task id
-- Returns ms until the latest deadline in its group; 0 or less when nobody waits.
-- uses: JOB_RECORD, clock, latest_deadline
local id = ARGV[1]

local fingerprint = redis.call('HGET', JOB_RECORD .. id, 'fingerprint')
local latest = fingerprint and latest_deadline(fingerprint)
if not latest then return 0 end
return latest - clock()
