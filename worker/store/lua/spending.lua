-- Tells what this day and this month have cost, after bookings that nobody ended are wasted.
-- Returns {day, reserved, paid, wasted, month, reserved, paid, wasted}: names of the periods in UTC
-- ("2026-11-29", "2026-11"), and nanodollars, as text.
-- uses: SPENDING, clock, read, sweep_bookings, utc_day
local now = clock()
local day = utc_day(now)

sweep_bookings(now)
local told = {}
for _, period in ipairs({day, day:sub(1, 7)}) do
  local known = read(SPENDING .. period, 'reserved', 'paid', 'wasted')
  table.insert(told, period)
  for _, column in ipairs({'reserved', 'paid', 'wasted'}) do
    table.insert(told, known[column] or '0')
  end
end
return told
