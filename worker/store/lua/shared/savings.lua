-- The savings ledger: what each model did for whom, by day (UTC) and by row. A row is a model, a
-- route and a tenant, with tabs between, as row_of of savings.py makes it.
-- savings  hash, by day: "row:" and a row → its number; its number, ":", column → a whole number;
--          "rows" → how many there are

-- Returns the day of a time in UTC, as YYYY-MM-DD. Days are counted from the first of March of the
-- year 0, so that a leap day is the last of its year.
local function utc_day(now)
  local days = math.floor(now / 86400000) + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - 365 * year - math.floor(year / 4) + math.floor(year / 100)
  local from_march = math.floor((5 * of_year + 2) / 153)
  local day = of_year - math.floor((153 * from_march + 2) / 5) + 1
  local month = from_march < 10 and from_march + 3 or from_march - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month, day)
end

-- Returns the number of a row of one day. When a day has all the rows that it may have, further
-- tenants are one, and with a hundred more, further models and routes are, too.
-- uses: SAVINGS_ROWS_MOST, SAVINGS_SECONDS
local function savings_row(key, row)
  local number = redis.call('HGET', key, 'row:' .. row)
  if number then return number end
  local rows = tonumber(redis.call('HGET', key, 'rows') or 0)
  if rows >= SAVINGS_ROWS_MOST then
    local served = rows < SAVINGS_ROWS_MOST + 100 and string.match(row, '^[^\t]*\t[^\t]*')
    row = (served or '(others)\t(others)') .. '\t(others)'
    number = redis.call('HGET', key, 'row:' .. row)
    if number then return number end
  end
  number = string.format('%d', redis.call('HINCRBY', key, 'rows', 1))
  redis.call('HSET', key, 'row:' .. row, number)
  redis.call('EXPIRE', key, SAVINGS_SECONDS)
  return number
end

-- Adds whole numbers, below 2^53 or as text, to columns of a row on this day. `numbers` holds
-- columns and numbers by turns.
-- uses: SAVINGS, savings_row, utc_day, whole
local function enter_in_row(row, numbers, now)
  local key, place
  for next_place = 1, #numbers, 2 do
    local column, number = numbers[next_place], numbers[next_place + 1]
    if tonumber(number) ~= 0 then
      key = key or SAVINGS .. utc_day(now)
      place = place or savings_row(key, row)
      local text = type(number) == 'string' and number or whole(number)
      redis.call('HINCRBY', key, place .. ':' .. column, text)
    end
  end
end

-- Enters US dollars, in nanodollars: as `paid_nano_usd` where a completion came of it, else as
-- `wasted_nano_usd`; also among the counts of the whole service.
-- uses: STATS, STATS_SECONDS, enter_in_row, whole
local function enter_spending(row, column, nano_usd, now)
  enter_in_row(row, {column, nano_usd}, now)
  redis.call('HINCRBY', STATS, column, type(nano_usd) == 'string' and nano_usd or whole(nano_usd))
  redis.call('EXPIRE', STATS, STATS_SECONDS)
end

-- Returns the row of one model by what `savings_text` of savings.py wrote.
local function row_of(savings, model)
  return model .. '\t' .. (savings.route or '') .. '\t' .. (savings.tenant or '')
end

-- Enters the ends of jobs that had one outcome: `outcome` is computed, cached or joined.
-- uses: enter_in_row, row_of
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
      table.insert(numbers, outcome .. '_' .. word)
      table.insert(numbers, jobs * ending[word .. '_tokens'])
    end
  end
  enter_in_row(row, numbers, now)
end

-- Enters the tokens that engines read and wrote in one run, by model, as far as that has not been
-- done: a run says them again with each of its steps. `how` they are to stand there when it is done:
-- "answered" says itself what was wasted; "failed" wasted all; "left" wasted what no step was kept
-- of; "noted" has wasted nothing yet. After the last call of a run nothing is remembered.
-- uses: DEADLINES, RUN_TOKENS, RUN_TOKENS_SECONDS, enter_in_row, row_of
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
    end
    enter_in_row(row_of(savings, model), numbers, now)
    if not is_last then redis.call('HSET', RUN_TOKENS .. token, model, cjson.encode(target)) end
  end
  if is_last then
    redis.call('DEL', RUN_TOKENS .. token)
  else
    redis.call('EXPIRE', RUN_TOKENS .. token, RUN_TOKENS_SECONDS)
  end
end
