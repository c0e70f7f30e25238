-- Lets an event be delivered that is not a job's end. One that is there already stays as it is.
-- ARGV[1] id of the event
-- ARGV[2] type of the event, e.g. "batch.completed"
-- ARGV[3] id of the object that it is about
-- ARGV[4] host
-- ARGV[5] URL
-- Returns 1.
-- uses: add_event, clock
local event, kind, object, host, url = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

add_event(event, kind, object, host, url, clock())
return 1
