-- Books what a call of a paid model may cost at most, before it is sent, unless a day or a month
-- would cost more than it may. Of an earlier run of the same step: its completion, if that was
-- bought; if its booking is still open, the run was cut off, and that much is wasted.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3], ARGV[4] place of the work, as note_step.lua's, and name of the step
-- ARGV[5] nonce of this call
-- ARGV[6] what it may cost, nanodollars
-- ARGV[7], ARGV[8] what a day and a month may cost, nanodollars; "" = any amount
-- ARGV[9] row of the savings ledger
-- Returns {"booked", ""}; {"bought", completion}; {"day", nanodollars left} or the same of "month"
-- when that is too little; {"cut_off", ""} when CUT_OFF_MOST calls for this step brought no answer;
-- {"cancelled", ""}; {"lost", ""} when the worker does not hold the job under this token.
-- uses: BOOKINGS, BOOKINGS_DUE, BOOKING_GRACE_MS, CUT_OFF_MOST, JOB_RECORD, PAID_STEPS
-- uses: SPENDING_SECONDS, booking_name, change_spending, clock, committed, open_booking, read
-- uses: sweep_bookings, utc_day, waste_booking, whole, work_deadline
local id, token, place, step, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local nano_usd, most = ARGV[6], {day = tonumber(ARGV[7]), month = tonumber(ARGV[8])}
local row = ARGV[9]
local name, now = booking_name(place, step), clock()
local day = utc_day(now)

local job = read(JOB_RECORD .. id, 'token', 'cancelled', 'fingerprint')
if job.token ~= token then return {'lost', ''} end
if job.cancelled then return {'cancelled', ''} end
-- A run that could not ask for its group, as Redis was away, had another place.
for _, one in ipairs({place, id, job.fingerprint}) do
  local bought = redis.call('HGET', PAID_STEPS .. one, 'bought:' .. step)
  if bought then return {'bought', bought} end
end

sweep_bookings(now)
local open = open_booking(name)
if open then
  if open.nonce == nonce then return {'booked', ''} end  -- the same call: its reply was lost
  waste_booking(name, open, id, now)
end
local cuts = redis.call('HGET', PAID_STEPS .. place, 'cuts:' .. step)
if tonumber(cuts or 0) >= CUT_OFF_MOST then return {'cut_off', ''} end

for _, period in ipairs({'day', 'month'}) do
  local left = most[period] and most[period] - committed(period == 'day' and day or day:sub(1, 7))
  if left and tonumber(nano_usd) > left then return {period, whole(math.max(0, left))} end
end
local booking = {
  nonce = nonce, nano_usd = nano_usd, day = day, place = place, step = step, row = row,
}
change_spending(day, 'reserved', nano_usd)
redis.call('HSET', BOOKINGS, name, cjson.encode(booking))
redis.call('ZADD', BOOKINGS_DUE, whole(work_deadline(place, id, now) + BOOKING_GRACE_MS), name)
redis.call('EXPIRE', BOOKINGS, SPENDING_SECONDS)
redis.call('EXPIRE', BOOKINGS_DUE, SPENDING_SECONDS)
return {'booked', ''}
