"""Several engines as one: dispatch by every name, slots, and one that is away hides only itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from local_llm_service.worker.engine import Capabilities, members
from local_llm_service.worker.engine.engines import capabilities_of
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    ModelMissing,
    OllamaUnreachable,
)
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.store.outcomes import Delivery
from tests.doubles.fleet import FLEET, StillEngine, still_fleet

WaitUntil = Callable[..., object]
PROMPT = Prompt((), 1)


def in_flight() -> InFlightDelivery:
    """A job that may be stopped."""
    return InFlightDelivery(Delivery("q", "", "id", "tag", "token", 0.0, 100.0, 0, 0, False))


def test_a_call_goes_to_the_engine_of_its_model() -> None:
    """By name, alias or route; the engine is asked by its own name of it."""
    engines, home, away = still_fleet()
    for name in ("big", "large", "large:latest", "auto", "tiny:1b", "local"):
        engines.complete(PROMPT, model=name, remaining_seconds=5)
    assert away.asked == ["large", "large", "large"]
    assert home.asked == ["small:1b", "tiny:1b", "tiny:1b"]
    assert engines.embed(ToEmbed(("a",)), model="big", remaining_seconds=5).model == "large"
    assert engines.of("big") is away


def test_a_model_that_nobody_lists_is_asked_of_nobody() -> None:
    """Though the server has it: it would cost what no price says. One engine may have no list."""
    paid_first = replace(FLEET, engines=FLEET.engines[::-1])
    engines, home, away = still_fleet(paid_first)
    for name in ("other", "unlisted:1b"):
        with pytest.raises(ModelMissing):
            engines.complete(PROMPT, model=name, remaining_seconds=5)
        with pytest.raises(ModelMissing):
            engines.embed(ToEmbed(("a",)), model=name, remaining_seconds=5)
    assert home.asked == away.asked == []
    paid, listed = paid_first.engines
    engines, home, away = still_fleet(replace(FLEET, engines=(paid, replace(listed, models=()))))
    engines.complete(PROMPT, model="unlisted:1b", remaining_seconds=5)
    assert home.asked == ["unlisted:1b"]


def test_what_an_engine_has_is_what_the_fleet_lists() -> None:
    """A context that the fleet knows counts before the engine's."""
    engines, home, away = still_fleet()
    assert [one.name for one in engines.models()] == ["small:1b", "tiny:1b", "large"]
    assert (engines.context_tokens("auto"), engines.context_tokens("big")) == (8192, 128_000)
    assert engines.models()[2].context_tokens == 128_000
    home.leave()
    assert [one.name for one in engines.models()] == ["large"]
    assert engines.version() == "1.0"
    engines.members[1].forget()
    away.leave()
    with pytest.raises(OllamaUnreachable):
        engines.models()
    with pytest.raises(OllamaUnreachable):
        engines.version()


def test_an_engine_elsewhere_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has said holds for a minute, unless it has failed since."""
    engines, home, away = still_fleet()
    for _ in range(5):
        engines.models()
        engines.notes()
    assert (home.looks > 5, away.looks) == (True, 2)  # version and models of one look
    engines.members[1].forget()
    engines.models()
    assert away.looks == 4
    monkeypatch.setattr(members, "ELSEWHERE_SECONDS", 0.0)
    engines.models()
    assert away.looks == 6


class Calls:
    """Calls in threads; `engine` holds them until it may go."""

    def __init__(self, model: str, engine: StillEngine, engines: object, count: int) -> None:
        self.engine, self.engines = engine, engines
        engine.go.clear()
        self.pool = ThreadPoolExecutor(count)
        ask = engines.complete  # type: ignore[attr-defined]
        self.all: list[Future[Completion]] = [
            self.pool.submit(ask, PROMPT, model=model, remaining_seconds=20) for _ in range(count)
        ]

    def end(self) -> None:
        """Let them go, and wait."""
        self.engine.go.set()
        for one in self.all:
            one.result(timeout=20)
        self.pool.shutdown()


def test_a_call_waits_for_the_slot_of_its_model(wait_until: WaitUntil) -> None:
    """A model that is full lets another of the same engine pass."""
    engines, home, _ = still_fleet()
    calls = Calls("small:1b", home, engines, 3)
    wait_until(lambda: home.running == 1, "one runs")
    more = Calls("tiny:1b", home, engines, 1)
    wait_until(lambda: home.running == 2, "the other model has its own")
    assert home.asked == ["small:1b", "tiny:1b"]
    more.end()
    calls.end()
    assert home.most == 2


def test_all_models_of_an_engine_share_its_slots(wait_until: WaitUntil) -> None:
    """Also with the prompts that it still evaluates though nobody waits for them."""
    engines, home, _away = still_fleet()
    told: list[int] = []
    engines.on_free(lambda: told.append(1))
    home.occupied = 2
    assert engines.occupied == 2
    calls = Calls("tiny:1b", home, engines, 3)
    assert engines.complete(PROMPT, model="big", remaining_seconds=5).model == "large"
    assert home.asked == []
    home.free_slots()
    wait_until(lambda: home.running == 2, "two run")
    calls.end()
    assert (home.most, told) == (2, [1])


def test_a_wait_for_a_slot_ends_with_the_callers_time(wait_until: WaitUntil) -> None:
    """Or with a stop; nothing was sent for either."""
    engines, home, _ = still_fleet()
    calls = Calls("small:1b", home, engines, 1)
    wait_until(lambda: home.running == 1, "one runs")
    with pytest.raises(DeadlineExceeded, match="waited for a slot"):
        engines.complete(PROMPT, model="auto", remaining_seconds=0.01)
    stopped = in_flight()
    threading.Timer(0.05, stopped.request_stop, [Cancelled("enough")]).start()
    with pytest.raises(Cancelled, match="enough"):
        engines.complete(PROMPT, model="auto", remaining_seconds=20, stoppable=stopped)
    wanted = in_flight()
    seconds = iter([0.01, 0.0])
    wanted.wanted_seconds = lambda: next(seconds)
    with pytest.raises(DeadlineExceeded):
        engines.complete(PROMPT, model="auto", remaining_seconds=0.01, stoppable=wanted)
    assert home.asked == ["small:1b"]
    calls.end()


def test_a_slot_is_given_back_whatever_the_call_ends_with() -> None:
    """An error uses none up."""
    engines, home, _ = still_fleet()
    home.leave()
    for _ in range(5):
        with pytest.raises(OllamaUnreachable):
            engines.complete(PROMPT, model="small:1b", remaining_seconds=1)
    home.away = None
    assert engines.complete(PROMPT, model="small:1b", remaining_seconds=1).text == "Hi."


def test_capabilities_are_those_that_all_promise() -> None:
    """`capabilities_of` tells those of one model."""
    engines, _, away = still_fleet()
    assert engines.capabilities.digests
    away.capabilities = Capabilities(digests=False)
    assert not engines.capabilities.digests
    assert capabilities_of(engines, "auto").digests
    assert not capabilities_of(engines, "big").digests
    assert not capabilities_of(away, "big").digests
