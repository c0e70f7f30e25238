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
-- uses: HANDOFF, outcome_entry, whole
local function hand_off(id, deadline_ms, ending, now)
  local kept_ms = math.max(1000, deadline_ms - now) + ending.kept_seconds * 1000
  local kind = ending.error == '' and 'a' or 'f'
  redis.call('SET', HANDOFF .. id, kind .. outcome_entry(ending), 'PX', whole(kept_ms))
end

-- Gives the outcome to one waiter. Returns the entry of a follower that has its result now.
-- uses: FOLLOWERS, JOB_RECORD, announce, count_end, elapsed, hand_off, mark_ended, owe, put_back
-- uses: read, remove_message, waiter_result
local function answer_waiter(fingerprint, id, ending, now)
  local record = JOB_RECORD .. id
  local job = read(record, 'settled', 'tag', 'canvas', 'submitted_ms', 'deadline_ms', 'by_name')
  if job.settled or not job.deadline_ms then return nil end
  local entry = redis.call('HGET', FOLLOWERS .. fingerprint, id)
  if job.canvas then
    hand_off(id, job.deadline_ms, ending, now)
    if entry then put_back(record, entry) end
    return nil
  end
  local took_ms = elapsed(job.submitted_ms, now)
  announce(id, waiter_result(id, took_ms, ending), ending.kept_seconds)
  owe(id, job, '', now)
  mark_ended(record, '1', ending)
  redis.call('HDEL', record, 'token', 'tag')
  remove_message(id, job.tag)
  count_end('joined', took_ms, ending)
  return entry
end

-- Gives the leader's outcome to all who wait and ends the group. Returns the ids of the followers
-- that have their result now, and the first of them as {id, entry}; nil when there is none.
-- uses: FOLLOWERS, GROUP, WAITERS, answer_waiter
local function fan_out(fingerprint, leader, ending, now)
  local followers, first = {}, nil
  for _, id in ipairs(redis.call('ZRANGE', WAITERS .. fingerprint, 0, -1)) do
    local entry = id ~= leader and answer_waiter(fingerprint, id, ending, now)
    if entry then
      table.insert(followers, id)
      first = first or {id = id, entry = entry}
    end
  end
  redis.call('DEL', WAITERS .. fingerprint, FOLLOWERS .. fingerprint, GROUP .. fingerprint)
  return followers, first
end
