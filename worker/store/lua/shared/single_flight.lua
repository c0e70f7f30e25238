-- Single-flight groups: of the jobs with one fingerprint, one runs and answers all.
-- waiters    sorted set job → deadline: all who wait for the answer, in whatever queue they are
-- group      hash leader, token: the job that runs; true while it is held under that token
-- followers  hash job → entry: jobs that a worker took and set aside, only while there is a leader

-- Tells whether a job leads its group under this fencing token.
-- uses: GROUP
local function leads(fingerprint, id, token)
  local leader, leader_token = unpack(redis.call('HMGET', GROUP .. fingerprint, 'leader', 'token'))
  return leader == id and leader_token == token
end

-- Returns the job that runs for a fingerprint, or nil. One that is being stopped does not count.
-- uses: GROUP, JOB_RECORD
local function leader_of(fingerprint)
  local leader, leader_token = unpack(redis.call('HMGET', GROUP .. fingerprint, 'leader', 'token'))
  if not leader then return nil end
  local token, cancelled = unpack(redis.call('HMGET', JOB_RECORD .. leader, 'token', 'cancelled'))
  if token ~= leader_token or cancelled then return nil end
  return leader
end

-- Tells whether anybody but this job waits for the answer.
-- uses: WAITERS
local function others_wait(fingerprint, id)
  local waiting = redis.call('ZCARD', WAITERS .. fingerprint)
  if redis.call('ZSCORE', WAITERS .. fingerprint, id) then waiting = waiting - 1 end
  return waiting > 0
end

-- Returns the latest deadline of those who wait, ms; nil when nobody does.
-- uses: WAITERS
local function latest_deadline(fingerprint)
  local _, latest = unpack(
    redis.call('ZREVRANGE', WAITERS .. fingerprint, 0, 0, 'WITHSCORES'))
  return tonumber(latest)
end

-- Lets a job wait for the answer, in whatever queue it is.
-- uses: GROUP, JOB_RECORD, WAITERS, keep_until
local function add_waiter(fingerprint, id, deadline, kept_ms, now)
  redis.call('ZADD', WAITERS .. fingerprint, deadline, id)
  keep_until(WAITERS .. fingerprint, deadline + kept_ms, now)
  -- The leader runs to the latest deadline, and its record has to last as long.
  local leader = redis.call('HGET', GROUP .. fingerprint, 'leader')
  if leader and leader ~= id then keep_until(JOB_RECORD .. leader, deadline + kept_ms, now) end
end

-- Lets all waiters share a count of tries or crashes: they are the same work.
-- uses: JOB_RECORD, WAITERS, raise_to
local function share_count(fingerprint, id, field, number)
  for _, other in ipairs(redis.call('ZRANGE', WAITERS .. fingerprint, 0, -1)) do
    if other ~= id and redis.call('EXISTS', JOB_RECORD .. other) == 1 then
      raise_to(JOB_RECORD .. other, field, number)
    end
  end
end

-- Lets all waiters know that steps of their work may be kept.
-- uses: share_count
local function share_steps(id, job)
  local kept = job.fingerprint and tonumber(job.kept_steps)
  if kept then share_count(job.fingerprint, id, 'kept_steps', kept) end
end

-- Lets a job that runs go on for the others in its group, as its own caller has a result. Its
-- delivery stays: the worker generates on, under the same token.
-- uses: WAITERS, keep_until, latest_deadline, leave_backlog
local function leave_running(id, record, fingerprint, ending, now)
  leave_backlog(id)
  redis.call('HSET', record, 'caller_left', '1')
  redis.call('ZREM', WAITERS .. fingerprint, id)
  keep_until(record, latest_deadline(fingerprint) + ending.kept_seconds * 1000, now)
end

-- Takes a job out of its group. The last waiter stops a leader whose own caller is gone.
-- uses: CANCEL_CHANNEL, FOLLOWERS, JOB_RECORD, WAITERS, leader_of, leave_fan_out, others_wait, read
local function detach(fingerprint, id)
  leave_fan_out(fingerprint, id)
  redis.call('ZREM', WAITERS .. fingerprint, id)
  redis.call('HDEL', FOLLOWERS .. fingerprint, id)
  local leader = leader_of(fingerprint)
  if not leader or leader == id or others_wait(fingerprint, leader) then return end
  local job = read(JOB_RECORD .. leader, 'caller_left', 'cancel_requested')
  if job.caller_left or job.cancel_requested then
    redis.call('HSET', JOB_RECORD .. leader, 'cancelled', '1')
    redis.call('PUBLISH', CANCEL_CHANNEL, leader)
  end
end

-- Ends a group whose leader goes without a result: followers go back to their queues, the oldest
-- first, or wait until `due`, ms. They share the leader's attempts and crashes, where given.
-- uses: FOLLOWERS, GROUP, JOB_RECORD, defer, put_back, raise_to, read, unwrap
local function disband(fingerprint, due, attempts, crashes)
  local followers, back = redis.call('HGETALL', FOLLOWERS .. fingerprint), {}
  redis.call('DEL', FOLLOWERS .. fingerprint, GROUP .. fingerprint)
  for place = 1, #followers, 2 do
    local id, entry = followers[place], followers[place + 1]
    local job = read(JOB_RECORD .. id, 'settled', 'submitted_ms')
    local submitted_ms = tonumber(job.submitted_ms or 0)
    if not job.settled then
      table.insert(back, {id = id, entry = entry, submitted_ms = submitted_ms})
    end
  end
  table.sort(back, function(one, other) return one.submitted_ms > other.submitted_ms end)
  for _, follower in ipairs(back) do
    local record = JOB_RECORD .. follower.id
    if attempts then raise_to(record, 'attempts', attempts) end
    if crashes then raise_to(record, 'crashes', crashes) end
    if due then
      defer(follower.id, (unwrap(follower.entry)), due)
      redis.call('HSET', record, 'state', 'deferred')
    else
      put_back(record, follower.entry)
    end
  end
end
