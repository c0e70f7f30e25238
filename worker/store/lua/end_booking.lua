-- Ends the booking of a call that brought no completion.
-- ARGV[1] task id
-- ARGV[2], ARGV[3] place of the work and name of the step, as for book.lua
-- ARGV[4] nonce of the booking
-- ARGV[5] "free": nothing was generated; "cut_off": the model may have begun, so what was reserved
--         is wasted, and the call counts; "unwanted": the same, but nobody wants the answer
-- Returns 1; 0 when no booking of this nonce is open.
-- uses: booking_name, clock, close_booking, open_booking, waste_booking
local id, place, step, nonce, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local name, now = booking_name(place, step), clock()

local booking = open_booking(name, nonce)
if not booking then return 0 end
if how == 'cut_off' then
  waste_booking(name, booking, id, now)
elseif how == 'unwanted' then
  close_booking(name, booking, 'wasted', booking.nano_usd, now)
else
  close_booking(name, booking, nil, nil, now)
end
return 1
