"""What a paid call costs where its server is odd: nobody knows better than what was booked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local_llm_service.tasks import generate
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.testing.scripted_engine import ScriptedEngine
from local_llm_service.worker.engine.written import whole
from local_llm_service.worker.errors import (
    ContextOverflow,
    ModelFailed,
)
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.prompt import Completion
from tests.doubles.paying import PRICE, answer_of, spent

#: Each test's model may cost a tenth of a dollar a day: 100,000 tokens.
pytestmark = pytest.mark.local_llm(settings={"remote_budget_usd": "0.1/day", "lease_seconds": 3})


@pytest.fixture(autouse=True)
def paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model has a price."""
    monkeypatch.setattr(Fleet, "price", lambda *_: PRICE)


def test_an_answer_that_was_begun_and_cannot_be_used_is_spent(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same class as a refusal: a server that answers, and does not stream, is paid."""

    def garbled(*_: Any, **__: Any) -> Completion:
        error = ModelFailed("it does not stream its answers")
        error.was_begun = True
        raise error

    monkeypatch.setattr(ScriptedEngine, "complete", garbled)
    with pytest.raises(ModelFailed):
        answer_of(generate.delay("x"))
    assert spent().wasted > 0


@pytest.mark.parametrize("counts", [(0, 0), (10**30, 1)])
def test_a_server_that_counts_nothing_costs_what_was_booked(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int]
) -> None:
    """Nobody knows better; nor where the counts cannot be true."""
    complete = ScriptedEngine.complete

    def uncounted(self: ScriptedEngine, *args: Any, **more: Any) -> Completion:
        found = complete(self, *args, **more)
        return replace(found, prompt_tokens=counts[0], completion_tokens=counts[1])

    monkeypatch.setattr(ScriptedEngine, "complete", uncounted)
    with local_llm.held():
        job = generate.delay("x")
        local_llm.wait_until_asked()
        booked = spent().reserved
    answer_of(job)
    assert (spent().reserved, spent().paid) == (0, booked)


@pytest.mark.usefixtures("local_llm")
def test_thoughts_that_fill_the_context_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that thinks has written, though no text came."""
    thought = Completion("", "m", "length", 90, 9, 0.0, 0.0, 0.0)
    monkeypatch.setattr(ScriptedEngine, "complete", lambda _, one, **__: whole(thought, one, 99))
    with pytest.raises(ContextOverflow, match="ran into the end"):
        answer_of(generate.delay("x"))
    assert spent().wasted > 0
