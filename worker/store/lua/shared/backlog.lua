-- The backlog of a queue: jobs that were admitted to it and have no result yet, wherever their
-- messages wait, and the bytes that they take. It is kept by task id: a repetition counts nothing.

-- Takes a job out of the backlog, if it is there.
-- uses: BACKLOG, BACKLOG_JOBS
local function leave_backlog(id)
  local entry = redis.call('HGET', BACKLOG_JOBS, id)
  if not entry then return end
  local queue, bytes = string.match(entry, '^(.*) (%d+)$')
  redis.call('HDEL', BACKLOG_JOBS, id)
  if redis.call('HINCRBY', BACKLOG, queue .. ':jobs', -1) > 0 then
    redis.call('HINCRBY', BACKLOG, queue .. ':bytes', '-' .. bytes)
  else
    redis.call('HDEL', BACKLOG, queue .. ':jobs', queue .. ':bytes')
  end
end

-- Counts a job in the backlog of its queue, once, with a message of so many bytes.
-- uses: BACKLOG, BACKLOG_JOBS, JOB_OVERHEAD_BYTES, leave_backlog, whole
local function join_backlog(id, queue, message_bytes)
  leave_backlog(id)
  local bytes = whole(message_bytes + JOB_OVERHEAD_BYTES)
  redis.call('HSET', BACKLOG_JOBS, id, queue .. ' ' .. bytes)
  redis.call('HINCRBY', BACKLOG, queue .. ':jobs', 1)
  redis.call('HINCRBY', BACKLOG, queue .. ':bytes', bytes)
end

-- Returns the number and the bytes of the jobs in a backlog.
-- uses: BACKLOG
local function backlog_of(queue)
  local jobs, bytes = unpack(redis.call('HMGET', BACKLOG, queue .. ':jobs', queue .. ':bytes'))
  return tonumber(jobs or 0), tonumber(bytes or 0)
end
