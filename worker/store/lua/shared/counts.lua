-- Counts of the whole service.

-- Adds to one counter.
-- uses: STATS, whole
local function count(field, number)
  if number ~= 0 then redis.call('HINCRBY', STATS, field, whole(number)) end
end

-- Counts a job at its end: `origin` is hits, misses or joined, `took_ms` the time since its submit.
-- uses: STATS, STATS_SECONDS, count, enter_ends
local function count_end(origin, took_ms, ending, now)
  count(origin, 1)
  if ending.error == '' then
    if took_ms then
      count('latency_ms', took_ms)
      count('timed', 1)
    end
    count('delivered_prompt_tokens', ending.savings.prompt or 0)
    count('delivered_completion_tokens', ending.savings.completion or 0)
  end
  redis.call('EXPIRE', STATS, STATS_SECONDS)
  local outcomes = {misses = 'computed', hits = 'cached', joined = 'joined'}
  enter_ends(outcomes[origin], 1, ending, now)
end

-- Counts jobs that got the outcome of another: how many they are, of how many the time since their
-- submit is known, and the sum of these times, ms.
-- uses: STATS, STATS_SECONDS, count, enter_ends
local function count_joined(tally, ending, now)
  count('joined', tally.jobs)
  if ending.error == '' then
    count('latency_ms', tally.took_ms)
    count('timed', tally.timed)
    count('delivered_prompt_tokens', tally.jobs * (ending.savings.prompt or 0))
    count('delivered_completion_tokens', tally.jobs * (ending.savings.completion or 0))
  end
  redis.call('EXPIRE', STATS, STATS_SECONDS)
  enter_ends('joined', tally.jobs, ending, now)
end

-- Counts what was generated for nobody.
-- uses: DEADLINES, STATS, STATS_SECONDS, count
local function count_undelivered(ending)
  if ending.completion_tokens == 0 or ending.origin ~= 'misses' then return end
  redis.call('ZREM', DEADLINES, '')  -- A first write that needs no memory, as in renew.lua.
  count('generated_tokens', ending.completion_tokens)
  count('undelivered_prompt_tokens', ending.prompt_tokens)
  count('undelivered_completion_tokens', ending.completion_tokens)
  redis.call('EXPIRE', STATS, STATS_SECONDS)
end
