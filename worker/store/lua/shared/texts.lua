-- The text of a run, while the model writes it. A run is one delivery's generation; one of several
-- steps may have a text for each, of which only the last counts, and each has a name of its own.
-- text         string flag, run, text: 'w' while it is written, 'c' once it is complete. By
--              fingerprint where its job leads a group, else by task id.
-- text_wanted  string, by fingerprint: somebody who waits for the answer wants to read it meanwhile

-- Returns the name of the run under a fencing token, which it does not tell, with its first text;
-- given a number from 1 on, the same with a later text: two letters beyond hex at its end.
-- uses: RUN_CHARACTERS
local function run_of(token, number)
  local run = string.sub(redis.sha1hex(token), 1, RUN_CHARACTERS)
  if (number or 0) == 0 then return run end
  local letters = string.char(103 + math.floor(number / 20) % 20, 103 + number % 20)
  return string.sub(run, 1, -3) .. letters
end

-- Tells whether what a text says of its run, and a name, are of one run, with whatever text.
-- uses: RUN_CHARACTERS
local function is_same_run(found, run)
  return #found == RUN_CHARACTERS and string.sub(found, 1, -3) == string.sub(run, 1, -3)
end

-- Returns the run of a fencing token if its text is there; nil where nobody wanted one.
-- uses: RUN_CHARACTERS, TEXT, is_same_run, run_of
local function written_run(fingerprint, id, token)
  local places = {TEXT .. (fingerprint or id), TEXT .. id}
  if redis.call('EXISTS', unpack(places)) == 0 then return nil end
  for _, key in ipairs(places) do
    local run = redis.call('GETRANGE', key, 1, RUN_CHARACTERS)
    if is_same_run(run, run_of(token)) then return run end
  end
end

-- Lets whoever generates for a fingerprint, now or next, write the text.
-- uses: TEXT_WANTED, TEXT_WANTED_CHANNEL, keep_until, leader_of
local function want_text(fingerprint, until_ms, now)
  redis.call('SETNX', TEXT_WANTED .. fingerprint, '1')
  keep_until(TEXT_WANTED .. fingerprint, until_ms, now)
  local leader = leader_of(fingerprint)
  if leader then redis.call('PUBLISH', TEXT_WANTED_CHANNEL, leader) end
end
