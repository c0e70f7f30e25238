-- What Flower shows of jobs that no worker has in hand. Workers tell of those that they run.

-- Publishes Celery events about one job, as kombu would; nothing while nobody listens. They go out
-- under the name of a worker that is up: Flower shows a line for each name.
-- uses: CATALOG_UNTIL, EVENT_CHANNEL, EVENT_LISTENERS, clock
local function tell_flower(id, ...)
  if redis.call('EXISTS', EVENT_LISTENERS) == 0 then return end
  local worker = redis.call('ZREVRANGE', CATALOG_UNTIL, 0, 0)[1] or 'local-llm'
  local events = {...}
  for _, event in ipairs(events) do
    event.uuid, event.hostname, event.timestamp = id, worker, clock() / 1000
  end
  redis.call('PUBLISH', EVENT_CHANNEL, '{"body":' .. cjson.encode(cjson.encode(events))
    .. ',"content-type":"application/json","content-encoding":"utf-8","headers":{},"properties":'
    .. '{"delivery_mode":1,"priority":0,"delivery_tag":"","delivery_info":'
    .. '{"exchange":"llm.events","routing_key":"task.multi"}}}')
end

-- The event of a job that has been admitted.
local function sent_event(kind, queue)
  return {type = 'task-sent', name = 'llm.' .. kind, args = '-', kwargs = '-', queue = queue,
    routing_key = queue, retries = 0}
end

-- The event of a job's end. A caller who cancelled it, or set its deadline, sees no fault.
local function end_event(error)
  if error == '' then return {type = 'task-succeeded', result = '-', runtime = 0} end
  if error == 'cancelled' or error == 'deadline_exceeded' then
    return {type = 'task-revoked', terminated = false, expired = error == 'deadline_exceeded'}
  end
  return {type = 'task-failed', exception = error, traceback = ''}
end
