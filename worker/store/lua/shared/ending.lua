-- The end of one job. `ending` is the table that settle.lua makes of its arguments.

-- Stores a result under its job's id and tells those who listen.
-- uses: RESULT_CHANNEL, RESULT_META
local function announce(id, result, kept_seconds)
  redis.call('SET', RESULT_META .. id, result, 'EX', kept_seconds)
  redis.call('PUBLISH', RESULT_CHANNEL .. id, result)
end

-- Marks a job as ended under a fencing token, '1' where nobody held it: no worker tells of that.
-- Readers of its text are told which run the outcome comes from; its webhook, where the record has
-- one, how it ended. Every end of a job comes here.
-- uses: JOB_RECORD, end_event, tell_flower, tell_webhook, whole
local function mark_ended(record, token, ending, webhook, now)
  redis.call('HSET', record, 'settled', token, 'state', ending.state)
  if ending.error ~= '' then redis.call('HSET', record, 'error', ending.error) end
  if ending.run then redis.call('HSET', record, 'run', ending.run) end
  redis.call('EXPIRE', record, ending.kept_seconds)
  if token == '1' then tell_flower(string.sub(record, #JOB_RECORD + 1), end_event(ending.error)) end
  if webhook then
    local id, answer = string.sub(record, #JOB_RECORD + 1), '{' .. ending.text .. '}'
    tell_webhook(webhook, id, ending.state, answer, whole(now), now)
  end
end

-- Removes a job's message from wherever it is held, parked or deferred, what watches over it, and
-- its own steps.
-- uses: DEADLINES, DEFERRED, DEFERRED_MESSAGES, UNANSWERED, drop_own_steps, end_delivery
-- uses: leave_backlog, unpark
local function remove_message(id, tag)
  if tag then end_delivery(tag) else unpark(id) end
  redis.call('ZREM', DEADLINES, id)
  redis.call('SREM', UNANSWERED, id)
  leave_backlog(id)
  redis.call('ZREM', DEFERRED, id)
  redis.call('HDEL', DEFERRED_MESSAGES, id)
  drop_own_steps(id)
end

-- Writes an outcome as handoffs keep it: `a` for an answer or `f` for a failure, then as below.
-- uses: outcome_entry
local function handed_outcome(ending)
  return (ending.error == '' and 'a' or 'f') .. outcome_entry(ending)
end

-- Writes an outcome as the cache and handoffs keep it, with spaces between: prompt tokens,
-- completion tokens, both of one call of a paid model, model, route, text.
-- uses: whole
local function outcome_entry(ending)
  local savings = ending.savings
  return table.concat({
    whole(ending.prompt_tokens), whole(ending.completion_tokens), whole(savings.prompt or 0),
    whole(savings.completion or 0), savings.model or '', savings.route or '', ending.text,
  }, ' ')
end
