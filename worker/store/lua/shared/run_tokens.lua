-- What the end of a job or of a run enters in the savings ledger, by what Work.savings_text wrote.
-- run_tokens  hash, by fencing token: model → JSON of the four counts of it that are entered

-- Returns the row of one model by what Work.savings_text wrote.
local function row_of(savings, model)
  return model .. '\t' .. (savings.route or '') .. '\t' .. (savings.tenant or '')
end

-- Enters the ends of jobs that had one outcome: `outcome` is computed, cached or joined. The tokens
-- of answers that cost none count for the whole service, too.
-- uses: count, enter_in_row, row_of
local function enter_ends(outcome, jobs, ending, now)
  local savings = ending.savings
  local row = row_of(savings, savings.model or '')
  if ending.error ~= '' then
    enter_in_row(row, {ending.state == 'cancelled' and 'cancelled' or 'failed', jobs}, now)
    return
  end
  local numbers = {
    outcome, jobs, 'delivered_prompt', jobs * (savings.prompt or 0),
    'delivered_completion', jobs * (savings.completion or 0),
  }
  if outcome ~= 'computed' then
    for _, word in ipairs({'prompt', 'completion'}) do
      local tokens = jobs * ending[word .. '_tokens']
      table.insert(numbers, outcome .. '_' .. word)
      table.insert(numbers, tokens)
      count(outcome .. '_' .. word, tokens)
    end
  end
  enter_in_row(row, numbers, now)
end

-- Enters the tokens that engines read and wrote in one run, by model, as far as that has not been
-- done: a run says them again with each of its steps. `how` they are to stand there when it is
-- done: "answered" says itself what was wasted; "failed" wasted all; "left" wasted what no step was
-- kept of; "noted" has wasted nothing yet. After the last call of a run nothing is remembered.
-- Counts of the whole service never go back, as Prometheus reads them.
-- uses: DEADLINES, RUN_TOKENS, RUN_TOKENS_SECONDS, STATS, STATS_SECONDS, count, enter_in_row
-- uses: row_of
local function enter_made(savings, token, how, now, is_last)
  if not next(savings.made or {}) then return end
  redis.call('ZREM', DEADLINES, '')  -- A first write that needs no memory, as in renew.lua.
  local names = {'computed_prompt', 'computed_completion', 'wasted_prompt', 'wasted_completion'}
  for model, made in pairs(savings.made) do
    local kept = redis.call('HGET', RUN_TOKENS .. token, model)
    local entered = kept and cjson.decode(kept) or {0, 0, 0, 0}
    local numbers, target = {}, {}
    for word = 1, 2 do
      local sum = made[word] + made[word + 2]
      local computed = how == 'failed' and 0 or how == 'left' and entered[word]
        or how == 'noted' and sum - entered[word + 2] or made[word]
      target[word], target[word + 2] = computed, sum - computed
    end
    for place, name in ipairs(names) do
      table.insert(numbers, name)
      table.insert(numbers, target[place] - entered[place])
      count(name, math.max(0, target[place] - entered[place]))
    end
    enter_in_row(row_of(savings, model), numbers, now)
    if not is_last then redis.call('HSET', RUN_TOKENS .. token, model, cjson.encode(target)) end
  end
  redis.call('EXPIRE', STATS, STATS_SECONDS)
  if is_last then
    redis.call('DEL', RUN_TOKENS .. token)
  else
    redis.call('EXPIRE', RUN_TOKENS .. token, RUN_TOKENS_SECONDS)
  end
end
