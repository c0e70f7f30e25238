-- What paid models cost, in whole nanodollars. A booking is what one call may cost at most: made
-- before it is sent, and paid, wasted or free again once its end is known. Numbers come and go as
-- text: Redis adds them exactly.
-- bookings      hash name → JSON, of those that are open, and sorted set name → when it is swept
-- spending      hash reserved, paid, wasted, by day and by month; a booking counts for its own day
-- paid_steps    hash, by place, as note_step.lua's: `bought:` and step → completion, `nonce:` and
--               step → of its booking, `cuts:` and step → how many calls brought no answer

-- Returns the name of the booking of one step of a work.
local function booking_name(place, step)
  return place .. ' ' .. step
end

-- Adds to what a day, and its month, have reserved, paid or wasted.
-- uses: SPENDING, SPENDING_SECONDS
local function change_spending(day, column, nano_usd)
  for _, period in ipairs({day, string.sub(day, 1, 7)}) do
    redis.call('HINCRBY', SPENDING .. period, column, nano_usd)
    redis.call('EXPIRE', SPENDING .. period, SPENDING_SECONDS)
  end
end

-- Returns what a day or a month has cost, with what it may still cost by open bookings.
-- uses: SPENDING, read
local function committed(period)
  local known = read(SPENDING .. period, 'reserved', 'paid', 'wasted')
  return (known.reserved or 0) + (known.paid or 0) + (known.wasted or 0)
end

-- Returns an open booking; nil if there is none, or not of this nonce, where one is given.
-- uses: BOOKINGS
local function open_booking(name, nonce)
  local text = redis.call('HGET', BOOKINGS, name)
  local booking = text and cjson.decode(text)
  if not booking or nonce and booking.nonce ~= nonce then return nil end
  return booking
end

-- Ends an open booking; with a column, "paid" or "wasted", that many nanodollars are spent.
-- uses: BOOKINGS, BOOKINGS_DUE, change_spending, enter_spending
local function close_booking(name, booking, column, nano_usd, now)
  redis.call('ZREM', BOOKINGS_DUE, name)  -- first, as it needs no memory: a full Redis goes on
  redis.call('HDEL', BOOKINGS, name)
  if booking.nano_usd ~= '0' then  -- "-0" is no number to Redis
    change_spending(booking.day, 'reserved', '-' .. booking.nano_usd)
  end
  if column then
    change_spending(booking.day, column, nano_usd)
    enter_spending(booking.row, column .. '_nano_usd', nano_usd, now)
  end
end

-- Ends the booking of a call that was cut off: all that it reserved is spent, and it counts.
-- uses: PAID_STEPS, close_booking, keep_paid_steps
local function waste_booking(name, booking, id, now)
  close_booking(name, booking, 'wasted', booking.nano_usd, now)
  redis.call('HINCRBY', PAID_STEPS .. booking.place, 'cuts:' .. booking.step, 1)
  keep_paid_steps(booking.place, id, now)
end

-- Ends bookings whose work is over and said nothing of them: its worker died, and no other went on.
-- uses: BOOKINGS_AT_ONCE, BOOKINGS_DUE, BOOKING_GRACE_MS, close_booking, latest_deadline
-- uses: open_booking, whole
local function sweep_bookings(now)
  local due = redis.call(
    'ZRANGEBYSCORE', BOOKINGS_DUE, '-inf', whole(now), 'LIMIT', 0, BOOKINGS_AT_ONCE)
  for _, name in ipairs(due) do
    local booking = open_booking(name)
    local latest = booking and latest_deadline(booking.place)
    if not booking then
      redis.call('ZREM', BOOKINGS_DUE, name)
    elseif latest and latest > now then  -- somebody has begun to wait for it since
      redis.call('ZADD', BOOKINGS_DUE, whole(latest + BOOKING_GRACE_MS), name)
    else
      close_booking(name, booking, 'wasted', booking.nano_usd, now)
    end
  end
end

-- Returns the latest deadline of all who wait for a work, ms.
-- uses: JOB_RECORD, latest_deadline
local function work_deadline(place, id, now)
  local own = tonumber(redis.call('HGET', JOB_RECORD .. id, 'deadline_ms') or nil)
  return math.max(own or now, latest_deadline(place) or 0)
end

-- Lets what was bought for a work live as long as a kept step, and at least to its end.
-- uses: PAID_STEPS, STEP_SECONDS, keep_until, work_deadline
local function keep_paid_steps(place, id, now)
  local until_ms = math.max(now + STEP_SECONDS * 1000, work_deadline(place, id, now))
  keep_until(PAID_STEPS .. place, until_ms, now)
end
