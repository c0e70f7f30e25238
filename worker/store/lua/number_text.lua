-- Numbers the texts of a response in the order in which their runs were first told to a reader. The
-- text that an answer itself holds is that of the run which the answer comes from.
-- ARGV[1] task id
-- ARGV[2] run; "0" = the text in the answer
-- Returns the number of the run's text, from 0; 0 also where nothing is kept of the response.
-- uses: JOB_RECORD, RESPONSE, RESPONSE_TEXTS
local id, run = ARGV[1], ARGV[2]
local texts = RESPONSE_TEXTS .. id

if run == '0' then run = redis.call('HGET', JOB_RECORD .. id, 'run') or run end
local known = redis.call('HGET', texts, run)
if known then return tonumber(known) end
local left_ms = redis.call('PTTL', RESPONSE .. id)
if left_ms <= 0 then return 0 end
local number = redis.call('HLEN', texts)
redis.call('HSET', texts, run, number)
redis.call('PEXPIRE', texts, left_ms)
return number
