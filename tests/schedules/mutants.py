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
    """In `script`, `line` becomes `instead`. `schedule` was found by hypothesis and shortened.

    `rare`: it takes thousands of schedules to find it, so `make chaos` only plays the kept one.
    """

    name: str
    script: str
    line: str
    instead: str
    breaks: str
    schedule: str = ""
    rare: bool = False

    def texts(self) -> dict[str, str]:
        """The scripts that differ, by name. Raises LookupError when the line is not there once."""
        shipped = (DIRECTORY / f"{self.script}.lua").read_text()
        if shipped.count(self.line) != 1:
            raise LookupError(f"{self.name}: {shipped.count(self.line)} times in {self.script}.lua")
        texts = {
            file.stem: script_text(file.stem, DEFAULT_PREFIX) for file in DIRECTORY.glob("*.lua")
        }
        return {
            name: text.replace(self.line, self.instead)
            for name, text in texts.items()
            if name == self.script or (self.script == "shared" and self.line in text)
        }


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
        "  end_delivery(seen[3])\n",
        "",
        "its message is in two places, and its lease runs out",
        "ask 2 2, ask 2 3",
    ),
    Mutant(
        "disband drops who has joined",
        "shared",
        "else put_back(job[2], job[3]) end",
        "end",
        "callers are lost when their leader goes without a result",
        (
            "ask 0 1, step -1 0, take 3, step -1 0, ask 0 0, step -1 0, take 5, step -1 0, crash "
            "3 0 1"
        ),
    ),
    Mutant(
        "the last one to leave stops nothing",
        "shared",
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
        "if token ~= '' and seen[2] ~= token then",
        "if false then",
        "a worker that has lost its lease ends what another one runs",
        (
            "ask 3 2, take 1, step 0 0, step -1 0, expire 0, chore 1 4, step -1 0, take 0, step "
            "-1 0, fail 0 0 0"
        ),
    ),
    Mutant(
        "an answer is its leader's alone",
        "settle",
        "    if job ~= id then fan_out_to(job) end\n",
        "",
        "all others are lost",
        "ask 2 0, ask 1 1",
    ),
    Mutant(
        "everybody is cancelled with the leader",
        "settle",
        "local shared = ARGV[3] == 'everyone' and fingerprint",
        "local shared = fingerprint",
        "a caller that cancelled nothing gets Cancelled",
        "ask 0 0, step -1 0, take 0, step -1 0, cancel 0, step -1 0, ask 0 0",
    ),
    Mutant(
        "a canvas job is not put back",
        "settle",
        "    if entry then put_back(other, entry) end\n",
        "",
        "what had joined and others wait for is lost",
        "ask 1 5, ask 1 5",
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
        "settle",
        "  count_end('joined', answered, took(its[4]), prompt_tokens, completion_tokens)\n",
        "",
        "hits, misses and joined are fewer than the jobs that ended",
        "ask 0 0, ask 0 0",
    ),
    Mutant(
        "a caller's cancel stops the others' work",
        "cancel",
        "if seen[2] and seen[5] and leads(seen[5], id, seen[2]) and others_wait(seen[5], id) then",
        "if false then",
        "a generation that others wait for is stopped",
        "ask 0 3, ask 0 3, step -1 0, take 1, step -1 0, leave 5 0",
    ),
    Mutant(
        "a lease runs out and the group stays",
        "reap",
        "      disband(seen[4], nil, nil, crashes)\n",
        "",
        "the group of a dead worker is left behind",
        "chore 5 4, take 2, ask 0 3, step -1 0, step -1 0, pull 2, expire 0",
    ),
    Mutant(
        "crashes are the leader's alone",
        "reap",
        "      share(seen[4], id, 'crashes', crashes)\n",
        "",
        "n equal poison jobs kill n times as many workers",
        "ask 0 0, step -1 0, ask 0 0, step -1 0, take 0, step 0 0, expire 0, chore 1 4",
    ),
    Mutant(
        "what is put back leaves its group behind",
        "release",
        "if leading then disband(seen[3], due, attempts, nil) end\n",
        "",
        "who has joined waits for a job that does not run",
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
        "if seen[1] then add_waiter(seen[1], id, seen[2], tonumber(ARGV[5]) * 1000, now) end\n",
        "",
        "an answer does not reach those that wait in other queues",
        "ask 1 3, take 3, ask 2 0",
    ),
    Mutant(
        "an ended job is put all the same",
        "put",
        "if redis.call('HEXISTS', record, 'settled') == 1 then return 0 end\n",
        "",
        "it is a waiter for ever, and work goes on for it",
        "ask 2 2, step -1 2, cancel -1, step -1 0",
    ),
    Mutant(
        "requeue_follower keeps the message",
        "requeue_follower",
        "detach(fingerprint, ARGV[1])\n",
        "",
        "its message is in two places",
        (
            "ask 0 5, step -1 0, ask 1 5, step -1 0, take 1, step -1 0, crash -1, take 0, step 2 0,"
            " late 2"
        ),
    ),
)
