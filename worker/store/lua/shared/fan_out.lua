-- The leader's outcome for all who wait with it.

-- Writes a waiter's result. Each hole of the template becomes the task id (i), the seconds in the
-- queue (q) or the shared text (a). `took_ms` is the time since its submit, where known.
local function waiter_result(id, took_ms, ending)
  local queued_ms = took_ms and math.max(0, took_ms - ending.generation_ms)
  local fills = {
    i = cjson.encode(id),
    q = queued_ms and string.format('%.3f', queued_ms / 1000) or 'null',
    a = ending.text,
  }
  local text = {}
  for place, piece in ipairs(ending.pieces) do
    table.insert(text, piece)
    table.insert(text, fills[string.sub(ending.holes, place, place)])
  end
  return table.concat(text)
end

-- Keeps the outcome for a job in a canvas, until a worker takes it: only with the message in hand
-- can Celery call what comes after it.
-- uses: HANDOFF, handed_outcome, whole
local function hand_off(id, deadline_ms, ending, now)
  local kept_ms = math.max(1000, deadline_ms - now) + ending.kept_seconds * 1000
  redis.call('SET', HANDOFF .. id, handed_outcome(ending), 'PX', whole(kept_ms))
end

-- Gives the outcome to one waiter. Returns the entry of a follower that has its result now.
-- uses: JOB_RECORD, announce, elapsed, hand_off, mark_ended, owe, put_back, read, remove_message
-- uses: waiter_result
local function answer_waiter(followers, id, ending, now, tally)
  local record = JOB_RECORD .. id
  local job = read(record, 'settled', 'tag', 'canvas', 'submitted_ms', 'deadline_ms', 'by_name',
    'webhook')
  if job.settled or not job.deadline_ms then return nil end
  local entry = redis.call('HGET', followers, id)
  if job.canvas then
    hand_off(id, job.deadline_ms, ending, now)
    if entry then put_back(record, entry) end
    return nil
  end
  local took_ms = elapsed(job.submitted_ms, now)
  announce(id, waiter_result(id, took_ms, ending), ending.kept_seconds)
  owe(id, job, '', now)
  mark_ended(record, '1', ending, job.webhook, now)
  redis.call('HDEL', record, 'token', 'tag')
  remove_message(id, job.tag)
  tally.jobs = tally.jobs + 1
  if took_ms then
    tally.timed, tally.took_ms = tally.timed + 1, tally.took_ms + took_ms
  end
  return entry
end

-- Gives the outcome to each of these waiters; with `letter_due`, the first follower among them
-- leaves the dead letter, with that text of the model. Returns the ids of the followers that have
-- their result now.
-- uses: answer_waiter, bury, count_joined, unwrap
local function answer_each(ids, followers, ending, now)
  local answered, tally = {}, {jobs = 0, timed = 0, took_ms = 0}
  for _, id in ipairs(ids) do
    local entry = answer_waiter(followers, id, ending, now, tally)
    redis.call('HDEL', followers, id)
    if entry then
      table.insert(answered, id)
      if ending.letter_due then bury(id, (unwrap(entry)), now, ending.letter_due) end
      ending.letter_due = nil
    end
  end
  count_joined(tally, ending, now)
  return answered
end

-- Gives the leader's outcome to all who wait and ends the group. Returns the ids of the followers
-- that have their result now; where many wait, none, and the name of the fan-out that is open.
-- uses: FAN_OUT_AT_ONCE, FOLLOWERS, GROUP, PAID_STEPS, TEXT_WANTED, WAITERS, answer_each
-- uses: open_fan_out
local function fan_out(fingerprint, leader, ending, now)
  local waiters = WAITERS .. fingerprint
  redis.call('DEL', GROUP .. fingerprint, TEXT_WANTED .. fingerprint, PAID_STEPS .. fingerprint)
  redis.call('ZREM', waiters, leader)
  if redis.call('ZCARD', waiters) > FAN_OUT_AT_ONCE then
    return {}, open_fan_out(fingerprint, leader, ending, now)
  end
  local ids = redis.call('ZRANGE', waiters, 0, -1)
  local answered = answer_each(ids, FOLLOWERS .. fingerprint, ending, now)
  redis.call('DEL', waiters, FOLLOWERS .. fingerprint)
  return answered, ''
end
