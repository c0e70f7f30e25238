-- Keeps a completion that a paid model gave, for whoever goes on with the work, and turns its
-- booking into what it has cost, also over what it may cost. Whoever holds the job: it is paid.
-- ARGV[1] task id
-- ARGV[2], ARGV[3] place of the work and name of the step, as for book.lua
-- ARGV[4] nonce of the booking
-- ARGV[5] what it has cost, nanodollars
-- ARGV[6] what is kept of the completion; "" = nothing
-- Returns "bought", also when the call is repeated; "late" where the booking is closed: it was
-- wasted meanwhile, and what it reserved is spent.
-- uses: JOB_RECORD, PAID_STEPS, booking_name, clock, close_booking, keep_paid_steps, open_booking
-- uses: read
local id, place, step, nonce, nano_usd, entry = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local name, steps, now = booking_name(place, step), PAID_STEPS .. place, clock()
local booking, outcome = open_booking(name, nonce), 'bought'

if booking then
  close_booking(name, booking, 'paid', nano_usd, now)
elseif redis.call('HGET', steps, 'nonce:' .. step) ~= nonce then
  outcome = 'late'
end
local is_over = place == id and read(JOB_RECORD .. id, 'settled').settled
if not is_over then
  redis.call('HSET', steps, 'nonce:' .. step, nonce)
  if entry ~= '' then redis.call('HSETNX', steps, 'bought:' .. step, entry) end
  keep_paid_steps(place, id, now)
end
return outcome
