"""One-line faults of the scripts. Each is found by a schedule that is kept beside it.

The checkout is not changed: a mutant is applied to the text that Redis is given. One whose line is
not there any more raises, so this list moves with the scripts.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store.scripts import DIRECTORY, script_text


@dataclass(frozen=True)
class Mutant:
    """In the file `script`, `line` becomes `instead`; in one of shared/, forevery script that uses
    it. `schedule` was found by hypothesis and shortened.

    `rare`: it takes thousands of schedules to find it, so `make chaos` only plays the kept one.
    `paid`: it shows where every model has a price.
    """

    name: str
    script: str
    line: str
    instead: str
    breaks: str
    schedule: str = ""
    rare: bool = False
    paid: bool = False

    def texts(self) -> dict[str, str]:
        """The scripts that differ, by name. Raises LookupError when the line is not there once."""
        mutated = (DIRECTORY / f"{self.script}.lua").read_text()
        if mutated.count(self.line) != 1:
            raise LookupError(f"{self.name}: {mutated.count(self.line)} times in {self.script}.lua")
        texts = {}
        for file in DIRECTORY.glob("*.lua"):
            own = file.read_text()
            linked = script_text(file.stem, DEFAULT_PREFIX).removesuffix(own)
            if file.stem == self.script:
                texts[file.stem] = linked + own.replace(self.line, self.instead)
            elif self.script.startswith("shared/") and self.line in linked:
                texts[file.stem] = linked.replace(self.line, self.instead) + own
        return texts


MUTANTS = (
    Mutant(
        "a running leader is overlooked",
        "claim",
        "if leader and leader ~= id then",
        "if false then",
        "identical jobs run at once",
        "ask 0 0, ask 0 0",
    ),
    Mutant(
        "the delivery of a follower does not end",
        "claim",
        "  end_delivery(job.tag)\n",
        "",
        "its message is in two places, and its lease runs out",
        "ask 2 2, ask 2 3",
    ),
    Mutant(
        "disband drops its followers",
        "shared/single_flight",
        "      put_back(record, follower.entry)\n",
        "",
        "callers are lost when their leader goes without a result",
        (
            "ask 0 1, step -1 0, take 3, step -1 0, ask 0 0, step -1 0, take 5, step -1 0, crash "
            "3 0 1"
        ),
    ),
    Mutant(
        "the last one to leave stops nothing",
        "shared/single_flight",
        "    redis.call('HSET', JOB_RECORD .. leader, 'cancelled', '1')\n",
        "",
        "a model works for nobody",
        (
            "ask 1 1, ask 1 0, step -1 0, step -1 0, take 2, step -1 0, leave 3 0, step -1 0, "
            "leave 4 1"
        ),
    ),
    Mutant(
        "a result under any token",
        "settle",
        "if by_holder and job.token ~= token then",
        "if false then",
        "a worker that has lost its lease ends what another one runs",
        (
            "ask 3 2, take 1, step 0 0, step -1 0, expire 0, chore 1 4, step -1 0, take 0, step "
            "-1 0, finish 0 0"
        ),
    ),
    Mutant(
        "an answer is its leader's alone",
        "shared/fan_out",
        "local entry = answer_waiter(followers, id, ending, now, tally)",
        "local entry = nil",
        "all others are lost",
        "ask 2 0, ask 1 1",
    ),
    Mutant(
        "everybody is cancelled with the leader",
        "settle",
        "if settle_for == 'everyone' and (leading or given_up) then",
        "if leading or given_up then",
        "a caller that cancelled nothing gets Cancelled",
        "ask 0 0, step -1 0, take 0, step -1 0, cancel 0, step -1 0, ask 0 0",
    ),
    Mutant(
        "a canvas job is not put back",
        "shared/fan_out",
        "    if entry then put_back(record, entry) end\n",
        "",
        "a follower that others wait for is lost",
        "ask 1 5, ask 1 5",
    ),
    Mutant(
        "what follows a result is not written down",
        "shared/afterwork",
        "  if message or job.by_name then redis.call('ZADD', AFTERWORK, whole(now), id) end\n",
        "",
        "the steps after a job that failed never end",
        "ask 2 5, step 2 2, cancel 4",
    ),
    Mutant(
        "what follows a result is taken for good",
        "take_afterwork",
        "    redis.call('ZADD', AFTERWORK, whole(now + again_ms), id)\n",
        "",
        "it is lost with the worker that took it",
        (
            "ask 4 2, step -1 0, ask 2 3, step -1 0, ask 0 5, step 4 3, chore 1 9, take 3, "
            "step -1 0, cancel 2, step -1 0, take 4, step -1 0, lose 4"
        ),
    ),
    Mutant(
        "a handoff stays",
        "settle",
        "redis.call('DEL', HANDOFF .. id)\n",
        "",
        "a key is left behind",
        "ask 0 0, ask 1 5",
    ),
    Mutant(
        "joined jobs are not counted",
        "shared/fan_out",
        "  count_joined(tally, ending, now)\n",
        "",
        "hits, misses and joined are fewer than the jobs that ended",
        "ask 0 0, ask 0 0",
    ),
    Mutant(
        "an end is not in the ledger",
        "shared/counts",
        "  enter_ends(outcomes[origin], 1, ending, now)\n",
        "",
        "the ledger holds fewer jobs than ended",
        "ask 0 0",
    ),
    Mutant(
        "tokens of a step are entered twice",
        "shared/run_tokens",
        "kept and cjson.decode(kept) or {0, 0, 0, 0}",
        "{0, 0, 0, 0}",
        "the ledger holds more tokens than models made",
        "ask 6 2",
    ),
    Mutant(
        "what a run made that had lost its lease is not in the ledger",
        "settle",
        "  enter_made(savings, token, 'left', now)\n",
        "",
        "the ledger holds fewer tokens than models made",
        "ask 0 0, step -1 0, take 4, step 3 2, expire 3, chore 4 4, step -1 0, finish 1 1",
    ),
    Mutant(
        "what a job made that was given back is not in the ledger",
        "release",
        "enter_made(savings, token, 'left', now)\n",
        "",
        "the ledger holds fewer tokens than models made",
        "ask 6 5, step -1 0, take 3, step -1 0, expire 0, chore 1 4, step -1 0, finish 0 1",
    ),
    Mutant(
        "a caller's cancel stops the others' work",
        "cancel",
        "if leading and others_wait(job.fingerprint, id) then",
        "if false then",
        "a generation that others wait for is stopped",
        "ask 0 3, ask 0 3, step -1 0, take 1, step -1 0, leave 5 0",
    ),
    Mutant(
        "a lease runs out and the group stays",
        "reap",
        "    disband(job.fingerprint, nil, nil, crashes)\n",
        "",
        "the group of a dead worker is left behind",
        "chore 5 4, take 2, ask 0 3, step -1 0, step -1 0, pull 2, expire 0",
    ),
    Mutant(
        "crashes are the leader's alone",
        "reap",
        "    share_count(job.fingerprint, id, 'crashes', crashes)\n",
        "",
        "n equal poison jobs kill n times as many workers",
        "ask 0 0, step -1 0, ask 0 0, step -1 0, take 0, step 0 0, expire 0, chore 1 4",
    ),
    Mutant(
        "deaths of engines are the leader's alone",
        "release",
        "if deaths and job.fingerprint then"
        " share_count(job.fingerprint, id, 'engine_deaths', deaths) end\n",
        "",
        "n equal jobs kill n times as many engines",
        "ask 0 0, step -1 0, ask 0 0, step -1 0, take 0, step -1 0, fail 0 2 1",
    ),
    Mutant(
        "a suspect in a queue is taken beside others",
        "take",
        "return is_suspect(job) and (quarantined == 'no' or quarantined == 'clear')",
        "return false",
        "the innocent die with it once more",
        "ask 0 2, step -1 0, take 0, step -1 0, ask 3 2, step -1 0, take 0, step -1 0, ask 0 0,"
        " step -1 0, fail 0 2 1, take 0, step -1 0",
        rare=True,
    ),
    Mutant(
        "what is over in the quarantine is parked",
        "shared/quarantine",
        "    if not is_over then\n",
        "    if true then\n",
        "a job that has its result waits for a model",
        (
            "ask 0 2, step -1 0, take 2, ask 1 3, step -1 0, take 3, step 0 0, pull 4, step 5 0, "
            "ask 2 1, step -1 0, expire 1, chore 2 4, step -1 0, take 5, step -1 0, finish 2 1, "
            "lack 3, take 1"
        ),
    ),
    Mutant(
        "a death is forgotten when the message goes back",
        "shared/quarantine",
        "return job.crashes ~= nil or job.engine_deaths ~= nil",
        "return job.crashes ~= nil",
        "a suspect runs beside others",
        "ask 0 2, step -1 0, take 0, step -1 0, ask 3 2, step -1 0, take 0, step -1 0, ask 0 0,"
        " step -1 0, fail 0 2 1, take 0, step -1 0",
    ),
    Mutant(
        "what is put back leaves its group behind",
        "release",
        "if leading then disband(job.fingerprint, due, attempts) end\n",
        "",
        "a follower waits for a job that does not run",
        "take 3, ask 2 3, step -1 0, step -1 0, leave 5 5, drain 3",
    ),
    Mutant(
        "a message is put twice",
        "put",
        "if known and redis.call('HSETNX', record, 'put', '1') == 0 then return 0 end",
        "redis.call('HSETNX', record, 'put', '1')",
        "a call that is repeated becomes two messages",
        "ask 5 1, step -1 2, lose -1",
    ),
    Mutant(
        "a queued job is not a waiter",
        "put",
        "if fingerprint then add_waiter(fingerprint, id, deadline, kept_ms, clock()) end\n",
        "",
        "an answer does not reach those that wait in other queues",
        "ask 1 3, take 3, ask 2 0",
    ),
    Mutant(
        "a run that is over writes its text",
        "write_text",
        "if not is_current then return 0 end\n",
        "",
        "readers of the next run see two texts in turn",
        (
            "ask 4 1, step -1 0, drain 2, ask 1 3, step -1 0, take 0, step -1 0, take 2, step -1 "
            "0, expire 5, chore 6 4, step -1 0, fail 2 1 0, finish 4 1"
        ),
    ),
    Mutant(
        "a wish has no lifetime",
        "shared/texts",
        "  keep_until(TEXT_WANTED .. fingerprint, until_ms, now)\n",
        "",
        "a key is left behind for ever",
        "ask 3 1, crash 0 0 0, step -1 0, pull 2",
    ),
    Mutant(
        "a text has no lifetime",
        "write_text",
        ", 'EX', TEXT_SECONDS)",
        ")",
        "answers stay in Redis for ever",
        "ask 1 3",
    ),
    Mutant(
        "an ended job is put all the same",
        "put",
        "if settled then return 0 end\n",
        "",
        "it is a waiter forever, and work goes on for it",
        "ask 2 2, step -1 2, cancel -1, step -1 0",
    ),
    Mutant(
        "a fan-out skips waiters",
        "answer_waiters",
        "redis.call('ZREMRANGEBYRANK', waiters, 0, FAN_OUT_AT_ONCE - 1)",
        "redis.call('ZREMRANGEBYRANK', waiters, 0, FAN_OUT_AT_ONCE)",
        "one in a hundred callers is lost",
        "ask 0 5, step -1 0, ask 0 0, ask 0 0, step -1 0, take 2, take 0",
    ),
    Mutant(
        "who leaves an open fan-out leaves its message there",
        "shared/single_flight",
        "  leave_fan_out(fingerprint, id)\n",
        "",
        "the message of a cancelled job stays",
        (
            "ask 5 1, step -1 0, ask 5 3, step -1 0, ask 5 3, step -1 0, take 0, step -1 0, "
            "take 0, step -1 0, take 1, step -1 0, finish 0 0, step 0 1, cancel 1, step -1 0"
        ),
    ),
    Mutant(
        "a fan-out keeps the messages of its followers",
        "shared/fan_out",
        "    redis.call('HDEL', followers, id)\n",
        "",
        "a job that others wait for is in two places",
        "ask 5 1, ask 5 3, ask 5 3",
    ),
    Mutant(
        "a fan-out is never over",
        "shared/open_fan_outs",
        "  redis.call('ZREM', FAN_OUTS, name)\n",
        "",
        "workers look at it for ever",
        "ask 0 3, ask 2 1, ask 0 3",
    ),
    Mutant(
        "a claim overlooks the open fan-out",
        "claim",
        "if ending then return {'handoff', handed_outcome(ending)} end\n",
        "",
        "a job runs again whose answer is there",
        (
            "drain 1, ask 0 0, step -1 0, take 0, step -1 0, ask 0 0, step -1 0, ask 0 0, step -1 "
            "0, fail 0 0, step 0 2, take 0, step -1 0"
        ),
        rare=True,
    ),
    Mutant(
        "an ended job stays in the backlog",
        "shared/ending",
        "  leave_backlog(id)\n",
        "",
        "a queue is full of jobs that have ended",
        "ask 2 0",
    ),
    Mutant(
        "a message is not counted",
        "put",
        "join_backlog(id, queue, string.len(message))\n",
        "",
        "a queue holds any number of bytes",
        "ask 2 0",
    ),
    Mutant(
        "a replacement is counted twice",
        "shared/backlog",
        "  leave_backlog(id)\n",
        "",
        "jobs in Redis and jobs that are counted differ",
        "ask 2 0",
    ),
    Mutant(
        "a late follower stays one",
        "shared/endings",
        "    detach(job.fingerprint, id)\n",
        "",
        "its message is in two places",
        (
            "ask 0 5, step -1 0, ask 1 5, step -1 0, take 1, step -1 0, crash -1, take 0, step 2 0,"
            " late 2"
        ),
    ),
    Mutant(
        "sift keeps the message",
        "sift",
        "  redis.call('LREM', list.key, -1, raw)\n",
        "",
        "its message is in two places",
        "ask 0 5, step -1 0, cancel 0, step -1 0, chore 0 6, step -1 0",
    ),
    Mutant(
        "a pause goes on when its job is to end",
        "shared/endings",
        "    redis.call('HDEL', DEFERRED_MESSAGES, id)\n",
        "",
        "its message is in two places",
        "ask 0 5, step -1 0, take 0, step -1 0, fail 0 1 1, cancel 0, step -1 0",
    ),
    Mutant(
        "what cannot be run here is dropped",
        "take",
        "    park(id, queue, job.model, raw, job.submitted_ms, now)\n",
        "",
        "a job is lost to a worker that lacks its model",
        "ask 0 4, lack 1, take 1",
    ),
    Mutant(
        "a parked message stays when it is taken",
        "shared/parking",
        "  redis.call('HDEL', PARKED_MESSAGES, id)\n",
        "",
        "its message is in two places",
        "ask 0 4, step -1 0, take 3, step -1 0, fail 4 0 0",
    ),
    Mutant(
        "an ended job stays parked",
        "shared/ending",
        "if tag then end_delivery(tag) else unpark(id) end",
        "if tag then end_delivery(tag) end",
        "a cancelled job runs when a worker has its model, or is left behind",
        "lack 4, lack 1, ask 0 3, step -1 0, take 3, step -1 0, wait_over, chore 2 8",
    ),
    Mutant(
        "what is passed on stays in flight",
        "pass_on",
        "end_delivery(job.tag)\n",
        "",
        "its message is in two places, and its lease runs out",
        "ask 0 1, step -1 0, take 3, step -1 0, fail 0 0 1",
    ),
    Mutant(
        "what is passed on leaves its group behind",
        "pass_on",
        "  disband(job.fingerprint)\n",
        "",
        "a follower waits for a job that does not run",
        (
            "lack 4, lack 5, lack 3, lack 0, ask 0 1, step -1 0, take 0, crash -1, ask 2 3, step "
            "-1 0, step 2 0, fail 0 0 0"
        ),
    ),
    Mutant(
        "who failed a job gets it again",
        "shared/served",
        "return served[job.model] and not has_failed(job.failed_by, worker)",
        "return served[job.model]",
        "a broken engine fails a job again and again",
        "ask 0 0, step 0 0, take 0, step -1 0, fail 0 0 1",
    ),
    Mutant(
        "who waits for another's answer tells no webhook",
        "shared/fan_out",
        "mark_ended(record, '1', ending, job.webhook, now)",
        "mark_ended(record, '1', ending, nil, now)",
        "a caller's server is never told",
        (
            "ask 2 3, step -1 0, ask 0 5, step -1 0, ask 0 5, step -1 0, take 2, step -1 0, "
            "note 3, step 3 0, crash 4 1 0, take 0"
        ),
    ),
    Mutant(
        "a webhook is noted too late",
        "note_webhook",
        "  if job.settled and",
        "  if false and",
        "a job that ended meanwhile is never told",
        "ask 4 5, step -1 0, take 0, step -1 0, finish 3 1, note 3",
    ),
    Mutant(
        "a job makes room for ever",
        "note_step",
        "if tonumber(job.yields or 0) < YIELDS_MOST then",
        "if true then",
        "a job of many steps never ends while urgent ones come",
        (
            "ask 6 2, step -1 0, take 0, step -1 0, ask 0 4, step -1 0, take 0, step -1 0, ask 0 4,"
            " step -1 0, finish 0 1, take 0, step -1 0, finish 0 1, take 0, step -1 3, ask 0 4, "
            "step -1 0, step 0 0, take 0, step -1 0, finish 0 1, take 0, step -1 3, ask 0 4, step "
            "-1 0, step 0 0"
        ),
        rare=True,
    ),
    Mutant(
        "nobody else learns of kept steps",
        "release",
        "share_steps(id, job)\n",
        "",
        "who goes on with the work pays for all steps again",
        (
            "ask 6 0, step -1 0, ask 6 0, step -1 0, take 0, step -1 0, finish 0 1, drain 0, "
            "step -1 0"
        ),
    ),
    Mutant(
        "own steps outlive their job",
        "shared/ending",
        "  drop_own_steps(id)\n",
        "",
        "the words of a call with cache=False stay for a day",
        "ask 6 4",
    ),
    Mutant(
        "whoever held a job once takes it out of its group",
        "detach",
        "if job.token ~= token or not job.fingerprint then",
        "if not job.fingerprint then",
        "a follower is lost whose first worker lacked its model, and its lease",
        (
            "crash 0 0 0, ask 0 0, ask 1 4, step -1 0, take 5, step -1 0, ask 0 3, step -1 0, take "
            "4, step -1 0, step -1 0, start 1, take 3, chore 3 5, lack 5, step -1 0, step 1 1, "
            "chore 4 4, start 1, take 1, take 0, step -1 0, expire 3, chore 4 4, step -1 0, step 5 "
            "2"
        ),
        rare=True,
    ),
)
