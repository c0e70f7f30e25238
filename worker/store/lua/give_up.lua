-- Puts a parked job back into its queue to be ended: the worker that takes it next fails it, with
-- the message in hand, whatever models it serves.
-- ARGV[1] task id
-- Returns 1, or 0 when the job is not parked.
-- uses: JOB_RECORD, parked_message, put_back_parked
local id = ARGV[1]
local record = JOB_RECORD .. id

if not parked_message(id) then return 0 end
redis.call('HSET', record, 'given_up', '1')
put_back_parked(record, id)
return 1
