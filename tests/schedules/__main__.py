"""`python -m tests.schedules play "ask 0 0, step -1 0"` shows every Redis call and the fault,
`play-paid` the same where every model has a price;
`find [words of a mutant's name]` searches for a schedule that finds the mutant and shortens it."""

from __future__ import annotations

import sys
from typing import Any

import redis

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.conftest import REDIS_PORT
from tests.schedules import actors
from tests.schedules.moves import Moves
from tests.schedules.mutants import MUTANTS, Mutant
from tests.schedules.paid_mutants import PAID_MUTANTS
from tests.schedules.stage import stage

#: Two mutants take more than a thousand at times.
MOST_SCHEDULES = 4000


def main(what: str, words: str) -> int:
    """Play or find; return the exit code, which is 1 when a mutant is not found."""
    with RedisProcess(port=REDIS_PORT) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        if what.startswith("play"):
            play(client, words, paid=what == "play-paid")
            return 0
        known = (*MUTANTS, *PAID_MUTANTS)
        wanted = [mutant for mutant in known if words in mutant.name and not mutant.rare]
        found = [find(client, mutant) for mutant in wanted]
        print(f"{sum(found)} of {len(found)} mutants found")
        return 0 if all(found) else 1


def play(client: redis.Redis, schedule: str, *, paid: bool) -> None:
    """Play a schedule and print its moves, its calls and its fault."""
    note, move = actors.Calls.note, Moves.play

    def shown_note(self: actors.Calls, args: tuple[Any, ...], reply: Any) -> None:
        script = self.scripts.get(str(args[1])) if len(args) > 1 else None
        name, first = (script, 3) if script else (args[0], 1)
        given = [str(one)[:16] for one in args[first : first + 5]]
        print(f"    {actors.here()}: {name} {' '.join(given)} → {str(reply)[:60]}")
        note(self, args, reply)

    def shown_move(self: Moves, word: str, *numbers: int) -> bool:
        print(word, *numbers)
        return move(self, word, *numbers)

    actors.Calls.note, Moves.play = shown_note, shown_move  # type: ignore[method-assign]
    with stage(client, paid=paid) as there:
        print(there.fault(schedule) or "nothing is wrong")


def find(client: redis.Redis, mutant: Mutant) -> bool:
    """Search for a schedule with a fault and print it, shortened; return whether there is one."""
    with stage(client, mutant.texts(), paid=mutant.paid) as there:
        found = there.search(MOST_SCHEDULES, derandomize=False)
        print(f"{mutant.name}: {there.tally.schedules} schedules", flush=True)
        if found is not None:
            short = there.shorten(found)
            print(f"    {short}\n    {there.fault(short)}", flush=True)
        return found is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], " ".join(sys.argv[2:])))
