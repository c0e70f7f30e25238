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
    if number ~= 0 and number ~= '0' then
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
