-- Afterwork: what has to happen once a job's result is stored.

-- Writes down what follows a job: what its message names, and a copy of its result for another
-- application that sent it by name. In `follows`, n says that Celery calls something after the job,
-- and c that it does so if the record says canvas.
-- uses: AFTERWORK, AFTERWORK_MESSAGES, DEAD_LETTER_MESSAGES, find_message, whole
local function owe(id, job, follows, now)
  local calls = string.find(follows, 'n') or job.canvas and string.find(follows, 'c')
  local message = calls and (find_message(id, job.tag, job.fingerprint)
    or redis.call('HGET', DEAD_LETTER_MESSAGES, id))
  if message then redis.call('HSET', AFTERWORK_MESSAGES, id, message) end
  if message or job.by_name then redis.call('ZADD', AFTERWORK, whole(now), id) end
end
