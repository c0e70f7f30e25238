"""Whatever the order of calls, and whoever dies between two of them: nobody is lost, nobody is
answered twice, nothing is left. See tests/schedules.

SCHEDULES=1000 plays so many, with other seeds each time (`make chaos`, which also looks for every
mutant anew: `python -m tests.schedules find`). Without it few are played, always the same ones.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis

from tests.schedules.mutants import MUTANTS, Mutant
from tests.schedules.stage import Stage, stage

FEW = 80
SCHEDULES = int(os.environ.get("SCHEDULES", "0"))
_BY_NAME = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Tell something to whoever runs the long form."""

    def told(text: str) -> None:
        if SCHEDULES:
            with capsys.disabled():
                sys.stdout.write(f"\n{text}\n")

    return told


def tell_all(say: Say, there: Stage, began: float) -> None:
    """What was played, and what the service was told."""
    tally, seen = there.tally, there.calls.seen
    say(
        f"{tally.schedules} schedules, {sum(tally.moves.values())} moves, {there.calls.total} Redis"
        f" calls, {tally.moves['crash']} crashes, {tally.moves['expire']} leases run out,"
        f" {tally.moves['lose']} replies lost, in {time.monotonic() - began:.0f} s"
    )
    say("moves: " + ", ".join(f"{word} {times}" for word, times in tally.moves.most_common()))
    say("calls: " + ", ".join(f"{word} {times}" for word, times in seen.most_common()))


def test_no_schedule_has_a_fault(redis_client: redis.Redis, say: Say) -> None:
    """A fault is told with the shortest schedule that shows it; `python -m tests.schedules play`
    shows it call by call."""
    began = time.monotonic()
    with stage(redis_client) as there:
        found = there.search(SCHEDULES or FEW, derandomize=not SCHEDULES)
        tell_all(say, there, began)
        if found is not None:
            short = there.shorten(found)
            pytest.fail(f"{there.fault(short)}\n{short}")
    assert there.tally.schedules >= (SCHEDULES or FEW)


def test_the_kept_schedules_have_no_fault(redis_client: redis.Redis) -> None:
    """With the shipped scripts."""
    with stage(redis_client) as there:
        for mutant in MUTANTS:
            assert there.fault(mutant.schedule) == "", mutant.name


def test_a_caller_of_a_chain_that_dies_before_its_message_is_put(
    redis_client: redis.Redis,
) -> None:
    """No worker will ever have the message in hand: the job ends at its deadline without one."""
    with stage(redis_client) as there:
        assert there.fault("ask 0 5, step -1 2, crash -1") == ""


@_BY_NAME
def test_the_kept_schedule_finds_the_mutant(redis_client: redis.Redis, mutant: Mutant) -> None:
    """One line of the scripts is another: callers are lost, or whatever it breaks."""
    with stage(redis_client, mutant.texts()) as there:
        assert there.fault(mutant.schedule), f"not found: {mutant.breaks}"


def test_a_mutant_without_its_line_is_no_mutant() -> None:
    """Else a list that nobody moved with the scripts would find nothing and say so to nobody."""
    assert len(MUTANTS) >= 10
    with pytest.raises(LookupError):
        replace(MUTANTS[0], line="a line that is not there").texts()
