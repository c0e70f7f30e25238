-- The text of a run, while the model writes it. A run is one delivery's generation.
-- text         string flag, run, text: 'w' while it is written, 'c' once it is complete. By
--              fingerprint where its job leads a group, else by task id.
-- text_wanted  string, by fingerprint: somebody who waits for the answer wants to read it meanwhile

-- Returns the name of the run under a fencing token, which it does not tell.
-- uses: RUN_CHARACTERS
local function run_of(token)
  return string.sub(redis.sha1hex(token), 1, RUN_CHARACTERS)
end

-- Returns the run of a fencing token if its text is there; nil where nobody wanted one.
-- uses: RUN_CHARACTERS, TEXT, run_of
local function written_run(fingerprint, id, token)
  local places = {TEXT .. (fingerprint or id), TEXT .. id}
  if redis.call('EXISTS', unpack(places)) == 0 then return nil end
  for _, key in ipairs(places) do
    if redis.call('GETRANGE', key, 1, RUN_CHARACTERS) == run_of(token) then return run_of(token) end
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
