"""In any order of calls, and with a death between any two, no job is lost or answered twice and no
key is left behind. See tests/schedules.

SCHEDULES=1000 plays that many, with new seeds each time. `make chaos` does so and also searches for
every mutant again (`python -m tests.schedules find`). Without it a few fixed schedules are played.
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
from tests.schedules.paid_mutants import PAID_MUTANTS
from tests.schedules.stage import Stage, stage

FEW, FEW_PAID = 40, 15
SCHEDULES = int(os.environ.get("SCHEDULES", "0"))
_ALL_MUTANTS = (*MUTANTS, *PAID_MUTANTS)
_BY_NAME = pytest.mark.parametrize("mutant", _ALL_MUTANTS, ids=lambda mutant: mutant.name)

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print text for a person who runs the long form."""

    def told(text: str) -> None:
        if SCHEDULES:
            with capsys.disabled():
                sys.stdout.write(f"\n{text}\n")

    return told


def tell_all(say: Say, there: Stage, began: float) -> None:
    """Report the moves played and the Redis calls made."""
    tally, seen = there.tally, there.calls.seen
    say(
        f"{tally.schedules} schedules, {sum(tally.moves.values())} moves, {there.calls.total} Redis"
        f" calls, {tally.moves['crash']} crashes, {tally.moves['expire']} leases run out,"
        f" {tally.moves['lose']} replies lost, in {time.monotonic() - began:.0f} s"
    )
    say("moves: " + ", ".join(f"{word} {times}" for word, times in tally.moves.most_common()))
    say("calls: " + ", ".join(f"{word} {times}" for word, times in seen.most_common()))


@pytest.mark.parametrize(("few", "paid"), [(FEW, False), (FEW_PAID, True)], ids=["free", "paid"])
def test_no_schedule_has_a_fault(
    redis_client: redis.Redis, say: Say, few: int, *, paid: bool
) -> None:
    """A fault is reported with the shortest schedule that shows it; `python -m tests.schedules
    play` replays it call by call."""
    began = time.monotonic()
    with stage(redis_client, paid=paid) as there:
        found = there.search(SCHEDULES or few, derandomize=not SCHEDULES)
        tell_all(say, there, began)
        if found is not None:
            short = there.shorten(found)
            pytest.fail(f"{there.fault(short)}\n{short}")
    assert there.tally.schedules >= (SCHEDULES or few)


def test_the_kept_schedules_have_no_fault(redis_client: redis.Redis) -> None:
    """The shipped scripts pass the schedules that find mutants."""
    for paid in (False, True):
        with stage(redis_client, paid=paid) as there:
            for mutant in _ALL_MUTANTS:
                if mutant.paid == paid:
                    assert there.fault(mutant.schedule) == "", mutant.name


def test_a_caller_of_a_chain_that_dies_before_its_message_is_put(
    redis_client: redis.Redis,
) -> None:
    """No worker will ever have the message in hand: the job ends at its deadline without one."""
    with stage(redis_client) as there:
        assert there.fault("ask 0 5, step -1 2, crash -1") == ""


@_BY_NAME
def test_the_kept_schedule_finds_the_mutant(redis_client: redis.Redis, mutant: Mutant) -> None:
    """A script with one changed line breaks a rule, and its schedule shows that."""
    with stage(redis_client, mutant.texts(), paid=mutant.paid) as there:
        assert there.fault(mutant.schedule), f"not found: {mutant.breaks}"
    redis_client.flushall()  # the fault may be a key that is left behind


def test_a_mutant_without_its_line_is_an_error() -> None:
    """Otherwise a list that no longer fits the scripts would silently test nothing."""
    assert len(MUTANTS) >= 10
    with pytest.raises(LookupError):
        replace(MUTANTS[0], line="a line that is not there").texts()
