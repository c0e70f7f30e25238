-- Ends the delivery of a message that has no job (refused, unknown).
-- ARGV[1] task id
-- ARGV[2] delivery tag
-- ARGV[3] fencing token
-- Returns 1, or 0 when the message is not held under this token.
-- uses: JOB_RECORD, end_delivery, leave_backlog
local id, tag, token = ARGV[1], ARGV[2], ARGV[3]
local record = JOB_RECORD .. id

if redis.call('HGET', record, 'token') ~= token then return 0 end
end_delivery(tag)
leave_backlog(id)
redis.call('HDEL', record, 'token', 'tag')
return 1
