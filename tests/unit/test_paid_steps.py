"""Calls of a paid model: booked before they are sent, kept at once, and never bought twice.

The model of these tests costs a dollar for a million tokens: 1,000 nanodollars for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from local_llm_service.producers import cancel
from local_llm_service.tasks import embed, generate, paid_steps, summarize
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.testing.scripted_engine import ScriptedEngine
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BudgetExceeded,
    Cancelled,
    DeadlineExceeded,
    EngineTimeout,
    InternalError,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.prompt import Completion, Sampling
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.paying import NANO_PER_TOKEN, PRICE, answer_of, spent, tokens_of
from tests.doubles.pieces import prompt_of, summary_of, working_by

KEYS = Keys()
#: Each test's model may cost a tenth of a dollar a day: 100,000 tokens.
pytestmark = pytest.mark.local_llm(settings={"remote_budget_usd": "0.1/day", "lease_seconds": 3})


@pytest.fixture(autouse=True)
def paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model has a price."""
    monkeypatch.setattr(Fleet, "price", lambda *_: PRICE)


def test_an_answer_costs_what_the_model_counted(local_llm: LocalLLM) -> None:
    """What was booked beyond that is free again; the job leaves nothing but the sum."""
    with local_llm.held():
        job = generate.delay("How are you?", max_tokens=50)
        local_llm.wait_until_asked()
        assert spent().reserved > 50 * NANO_PER_TOKEN
        assert (spent().paid, spent().wasted) == (0, 0)
    cost = tokens_of(answer_of(job)) * NANO_PER_TOKEN
    assert (spent().reserved, spent().paid, spent().wasted) == (0, cost, 0)
    client = process_store().client
    assert not list(client.scan_iter(f"{KEYS.paid_steps}*"))
    assert not client.exists(KEYS.bookings, KEYS.bookings_due)


@pytest.mark.local_llm(settings={"remote_budget_usd": "100/day,0.0003/month"})
def test_over_the_budget_nothing_is_sent(local_llm: LocalLLM) -> None:
    """The error says what the call can cost and what is left, and nothing of the prompt."""
    with pytest.raises(BudgetExceeded) as caught:
        answer_of(generate.delay("a secret", max_tokens=100))
    assert local_llm.prompts == []
    assert "leaves 0.0003 USD for this month" in str(caught.value)
    assert "secret" not in repr(caught.value.args)
    assert "REMOTE_BUDGET_USD" in caught.value.hint
    assert spent().committed == 0


@pytest.mark.parametrize(("error", "times"), [(ModelMissing, 1), (ModelFailed, 1), (OllamaBusy, 3)])
def test_where_nothing_was_generated_nothing_is_spent(
    local_llm: LocalLLM, error: type[ServiceError], times: int
) -> None:
    """However often that happens."""
    local_llm.fail(error, times=times)
    with pytest.raises(error):
        answer_of(generate.delay("x"))
    assert len(local_llm.prompts) == times
    assert spent().committed == 0


def test_a_call_that_ended_in_a_wait_for_its_slot_costs_nothing(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the same error after it was sent would."""

    def waited(*_: Any, **__: Any) -> Completion:
        error = DeadlineExceeded("the deadline passed while the job waited for a slot")
        error.was_sent = False
        raise error

    monkeypatch.setattr(ScriptedEngine, "complete", waited)
    with pytest.raises(DeadlineExceeded):
        answer_of(generate.delay("x"))
    assert spent().committed == 0


@pytest.mark.parametrize(
    ("error", "pieces"), [(StreamBroken, ("a",)), (EngineTimeout, ()), (OllamaBusy, ("a",))]
)
def test_a_call_that_was_cut_off_is_spent_and_repeated_once(
    local_llm: LocalLLM, error: type[ServiceError], pieces: tuple[str, ...]
) -> None:
    """All that it reserved, since nobody knows what it cost."""
    local_llm.fail(error, *pieces).reply("Done.")
    answer = answer_of(generate.delay("x", max_tokens=50))
    assert len(local_llm.prompts) == 2
    assert spent().paid == tokens_of(answer) * NANO_PER_TOKEN
    assert spent().wasted > 50 * NANO_PER_TOKEN
    assert spent().reserved == 0


@pytest.mark.local_llm(settings={"remote_budget_usd": "unlimited", "max_attempts": 9})
def test_a_third_call_for_a_step_is_not_paid_for(local_llm: LocalLLM) -> None:
    """The job fails and says so; sent again, it has two calls again."""
    local_llm.fail(StreamBroken, "a", times=2)
    with pytest.raises(BudgetExceeded, match="cut off"):
        answer_of(generate.delay("x"))
    assert len(local_llm.prompts) == 2
    assert answer_of(generate.delay("x"))["text"]


def failing_once(after: Callable[[], None] = lambda: None) -> Callable[[Any, Steps], Any]:
    """A program of one step whose first run ends after its step, as in a worker that dies."""
    runs: list[int] = []

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        text = ask(prompt_of(request.context)).text
        runs.append(1)
        if len(runs) == 1:
            after()
            raise StreamBroken("the worker is gone")
        return summary_of(text)

    return work


@pytest.mark.parametrize("cache", [True, False])
def test_what_was_received_is_never_bought_again(local_llm: LocalLLM, cache: bool) -> None:
    """A second run of the job finds it, whether the job shares anything or not."""
    with working_by(failing_once()):
        answer = answer_of(summarize.delay("x", cache=cache))
    assert len(local_llm.prompts) == 1
    assert (spent().paid, spent().wasted) == (tokens_of(answer) * NANO_PER_TOKEN, 0)


def test_another_job_that_shares_nothing_buys_again(local_llm: LocalLLM) -> None:
    """What was bought for one job goes with its result."""
    for _ in range(2):
        answer_of(generate.delay("x", cache=False))
    assert len(local_llm.prompts) == 2


def test_a_step_that_differs_each_time_is_bought_each_time(local_llm: LocalLLM) -> None:
    """And found again by the run that asks it for the same time; a repeatable one is asked once."""
    runs: list[int] = []

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        wild = Sampling(temperature=1.0, seed=None)
        said = [ask(prompt_of("wild", sampling=wild)).text for _ in range(2)]
        said += [ask(prompt_of("tame")).text for _ in range(2)]
        runs.append(1)
        if len(runs) == 1:
            raise StreamBroken("the worker is gone")
        return summary_of(" ".join(said))

    local_llm.reply("1").reply("2").reply("3")
    with working_by(work):
        assert answer_of(summarize.delay("x"))["summary"] == "1 2 3 3"
    assert len(local_llm.prompts) == 3


def test_a_cancelled_call_is_spent_and_no_try(local_llm: LocalLLM) -> None:
    """Nobody wants its answer; the same prompt can be sent as often as before."""
    for number in range(1, 4):
        with local_llm.held():
            job = generate.delay("x")
            local_llm.wait_until_asked(number)
            cancel(job.id)
            with pytest.raises(Cancelled):
                answer_of(job)
        wait_until(lambda: spent().reserved == 0, "its booking is closed")
    assert spent().wasted > 0
    assert answer_of(generate.delay("x"))["text"]


def test_without_redis_nothing_is_sent(local_llm: LocalLLM) -> None:
    """The job goes back, and buys its answer once Redis is there again."""
    away, failures = local_llm.redis_away(), list[BrokerUnreachable]()

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        if not failures:
            away.__enter__()
        try:
            return summary_of(ask(prompt_of("x")).text)
        except BrokerUnreachable as error:
            failures.append(error)
            assert local_llm.prompts == []
            away.__exit__(None, None, None)
            raise

    with working_by(work):
        answer_of(summarize.delay("x"))
    assert [error.code for error in failures] == ["broker_unreachable"]
    assert len(local_llm.prompts) == 1


def test_redis_goes_away_while_the_model_writes(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The completion waits in hand until it is kept."""
    away, pauses = local_llm.redis_away(), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            away.__exit__(None, None, None)

    monkeypatch.setattr(paid_steps, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    local_llm.reply(lambda _: (away.__enter__(), "Done.")[1])
    with working_by(failing_once()):
        assert answer_of(summarize.delay("x"))["summary"] == "Done."
    assert pauses
    assert len(local_llm.prompts) == 1
    assert (spent().reserved, spent().wasted) == (0, 0)


def test_redis_stays_away_longer_than_a_lease(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets the answer once Redis is back; the booking stays, and is wasted later."""
    away, looks = local_llm.redis_away(), list[float]()

    def monotonic() -> float:
        looks.append(1e9 * len(looks))
        if len(looks) == 2:
            away.__exit__(None, None, None)
        return looks[-1]

    def pause(_: float) -> None:
        raise AssertionError("the time is over")

    monkeypatch.setattr(paid_steps, "time", SimpleNamespace(monotonic=monotonic, sleep=pause))
    local_llm.reply(lambda _: (away.__enter__(), "Done.")[1])
    assert answer_of(generate.delay("x"))["text"] == "Done."
    assert spent().reserved > 0
    due = process_store().client.zrange(KEYS.bookings_due, 0, -1)
    process_store().client.zadd(KEYS.bookings_due, dict.fromkeys(due, 0))
    assert (spent().reserved, spent().paid) == (0, 0)
    assert spent().wasted > 0


def test_vectors_are_booked_too(local_llm: LocalLLM) -> None:
    """By their texts."""
    answer = answer_of(embed.delay(["one two", "three"]))
    assert spent().paid == answer["usage"]["prompt_tokens"] * NANO_PER_TOKEN
    assert spent().reserved == 0


def test_a_call_that_can_cost_nothing_is_closed_like_any_other(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: vectors of a model whose completions alone have a price."""
    monkeypatch.setattr(Fleet, "price", lambda *_: Price(Decimal(0), Decimal(1)))
    monkeypatch.setattr(paid_steps, "time", SimpleNamespace(monotonic=time.monotonic))
    answer_of(embed.delay(["one"]))
    assert spent().committed == 0
    assert not process_store().client.exists(KEYS.bookings, KEYS.bookings_due)


def test_what_was_bought_and_cannot_be_read_is_not_bought_again(local_llm: LocalLLM) -> None:
    """A newer version may write it otherwise: nothing is sent without a booking."""

    def garble() -> None:
        client = process_store().client
        for key in client.scan_iter(f"{KEYS.paid_steps}*"):
            client.hset(key, mapping=dict.fromkeys(client.hkeys(key), "{}"))

    with working_by(failing_once(garble)), pytest.raises(InternalError, match="cannot be read"):
        answer_of(summarize.delay("x"))
    assert len(local_llm.prompts) == 1


def test_a_direct_call_asks_no_paid_model(local_llm: LocalLLM) -> None:
    """There is nothing that it could be booked in."""
    with pytest.raises(InvalidRequest, match="a direct call"):
        generate("x")
    assert local_llm.prompts == []
