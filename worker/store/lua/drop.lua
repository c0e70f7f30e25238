-- End custody of a message that has no job (refused, unknown), if it is still held under its token.
-- ARGV[1] task id   ARGV[2] delivery tag   ARGV[3] fence token   Returns 1 or 0.
local record = JOB_RECORD .. ARGV[1]
if redis.call('HGET', record, 'token') ~= ARGV[3] then return 0 end
end_delivery(ARGV[2])
redis.call('HDEL', record, 'token', 'tag')
return 1
