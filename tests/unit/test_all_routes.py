"""What holds of a route whatever its two models do: every outcome of both, in every way to ask."""

from __future__ import annotations

from itertools import product
from typing import Any

from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import (
    BudgetExceeded,
    Cancelled,
    ContextOverflow,
    InternalError,
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.lease.in_flight import Yielded
from tests.doubles.house import LOCAL, REMOTE, House, wrote

GOOD, BAD = "Because.", "I'm sorry, but I can't help with that."
#: What a model may do: write an answer, good or bad, or raise.
ENDS = (Cancelled("c"), EngineDied("d"), Yielded("y"))
FAULTS = (
    OllamaUnreachable("away"),
    ModelFailed("failed"),
    StreamBroken("broken"),
    ContextOverflow.of(ContextOverflow.REFUSED, 9000, 8192),
    InvalidOutput("no JSON"),
    InvalidRequest("x: wrong"),
    InternalError("a fault"),
    *ENDS,
)
AT_HOME = (GOOD, BAD, *FAULTS)
FAR_AWAY = (GOOD, BAD, BudgetExceeded("spent"), *FAULTS)
UP = ((LOCAL, REMOTE), (LOCAL,), (REMOTE,), ())


def _run(
    here: str | Exception,
    there: str | Exception,
    is_complex: bool,
    up: Any,
    cascade: bool,
    keep: bool,
) -> tuple[House, str | ServiceError]:
    """One run, and what comes of it."""

    def said(outcome: str | Exception, tokens: int) -> list[Any]:
        return [wrote(outcome, completion_tokens=tokens) if isinstance(outcome, str) else outcome]

    verdict = Verdict(is_complex, 0.5)
    house = House(said(here, 3), said(there, 5), router=lambda _: verdict, up=up, cascade=cascade)
    try:
        return house, house.generate(keep_local=keep)
    except ServiceError as error:
        return house, error


def _check(house: House, outcome: str | ServiceError, here: Any, there: Any) -> None:
    run, asked = house.run, house.sent
    chosen, reason, tried = house.told()
    # Each model is asked once at most, so that nothing runs in circles, or is paid twice.
    assert len(asked) == len(set(asked))
    assert reason
    # The outcome is what the chosen model did, and nothing of the other one.
    assert outcome is (here if chosen == LOCAL else there)
    assert chosen in asked
    # All that was written is either of the answer or wasted.
    written = sum(
        5 if name == REMOTE else 3 for name in asked if isinstance(_of(name, here, there), str)
    )
    assert run.spent.completion_tokens + run.wasted.completion_tokens == written
    if isinstance(outcome, str):
        assert run.spent.completion_tokens == (3 if chosen == LOCAL else 5)
        # Whoever was asked and did not answer is told of; a bad local answer only where it counts.
        assert {name for name in asked if name != chosen} <= {name for name, _ in tried}
    # A good answer at home never goes on, and a bad one counts only for want of a better one.
    if asked[0] == LOCAL and here == GOOD:
        assert asked == [LOCAL]
    # The end of a run is its end.
    if any(_of(name, here, there) in ENDS for name in asked):
        assert outcome in ENDS
        assert _of(asked[-1], here, there) in ENDS


def _of(name: str, here: Any, there: Any) -> Any:
    return here if name == LOCAL else there


def test_every_outcome_of_both_models_in_every_way_to_ask() -> None:
    """An answer comes from one of them, an error was one of theirs, and what stays never leaves."""
    ways = product(AT_HOME, FAR_AWAY, (False, True), UP, (False, True), (False, True))
    count = 0
    for here, there, is_complex, up, cascade, keep in ways:
        house, outcome = _run(here, there, is_complex, up, cascade, keep)
        _check(house, outcome, here, there)
        if keep:
            assert house.sent == [LOCAL]
        if GOOD in (here, there) and not keep and not isinstance(outcome, str):
            # A good answer was to be had: only the run's end, or a fault that is not an engine's,
            # may have come before.
            assert (
                outcome in ENDS
                or isinstance(outcome, InternalError | InvalidRequest)
                or not cascade
            )
        count += 1
    assert count == len(AT_HOME) * len(FAR_AWAY) * 2 * len(UP) * 2 * 2
