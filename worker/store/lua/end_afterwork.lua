-- Drops the afterwork of a job: all of it is done.
-- ARGV[1] task id
-- Returns 1.
-- uses: AFTERWORK, AFTERWORK_MESSAGES
local id = ARGV[1]

redis.call('ZREM', AFTERWORK, id)
redis.call('HDEL', AFTERWORK_MESSAGES, id)
return 1
