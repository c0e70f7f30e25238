"""The breaker closes the gate when the engine is away, probes, and opens the gate again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from local_llm_service.worker.engine import Stoppable, TextSink
from local_llm_service.worker.errors import OllamaUnreachable
from local_llm_service.worker.intake import circuit_breaker
from local_llm_service.worker.intake.circuit_breaker import CircuitBreaker
from local_llm_service.worker.intake.engine_breakers import EngineBreakers
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.prompt import Completion, Model, Prompt
from local_llm_service.worker.settings import Settings

WaitUntil = Callable[..., object]


class FlakyEngine:
    """Answers while `there` is set, and counts how often it is asked."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.there.set()
        self.asked = 0
        self.unexpected: Exception | None = None

    def version(self) -> str:
        self.asked += 1
        if self.unexpected is not None:
            raise self.unexpected
        if not self.there.is_set():
            raise OllamaUnreachable("Ollama is not running")
        return "0.33.0"

    def models(self) -> list[Model]:
        self.version()
        return [Model("fake:1b", "sha256:1", 1, None)]

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing: this engine has nothing to release."""


@pytest.fixture
def engine() -> FlakyEngine:
    return FlakyEngine()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def catalog(engine: FlakyEngine) -> ModelCatalog:
    return ModelCatalog(Settings(), engine)


@pytest.fixture
def breaker(
    engine: FlakyEngine, gate: Gate, catalog: ModelCatalog, monkeypatch: pytest.MonkeyPatch
) -> CircuitBreaker:
    """A breaker that probes every few milliseconds."""
    monkeypatch.setattr(circuit_breaker, "FIRST_PROBE_SECONDS", 0.002)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE_SECONDS", 0.01)
    breakers = EngineBreakers(catalog.fleet, catalog.members, gate, catalog)
    return breakers._of_engine["ollama"]


def test_an_engine_that_answers_does_not_trip_the_breaker(
    breaker: CircuitBreaker, gate: Gate
) -> None:
    """A stream can break while its server is healthy."""
    assert not breaker.is_away()
    assert gate.is_open


def test_an_engine_that_is_away_closes_the_gate_until_it_answers(
    breaker: CircuitBreaker, gate: Gate, engine: FlakyEngine, wait_until: WaitUntil
) -> None:
    """The worker takes no job in between, so no job uses up a try."""
    engine.there.clear()
    assert breaker.is_away()
    assert gate.reasons == [Reason.OLLAMA]
    asked = engine.asked
    wait_until(lambda: engine.asked > asked + 2, "it probes")
    assert not gate.is_open
    engine.there.set()
    wait_until(lambda: gate.is_open, "the gate is open again")


def test_the_breaker_removes_only_its_own_reason(
    breaker: CircuitBreaker, gate: Gate, engine: FlakyEngine, wait_until: WaitUntil
) -> None:
    """A draining worker's gate stays closed when Ollama comes back."""
    gate.close(Reason.DRAINING)
    engine.there.clear()
    breaker.trip()
    engine.there.set()
    wait_until(lambda: gate.reasons == [Reason.DRAINING], "the breaker's reason is gone")


def test_many_slots_that_fail_together_start_one_probe(
    breaker: CircuitBreaker, engine: FlakyEngine, gate: Gate, wait_until: WaitUntil
) -> None:
    """Each slot sees the same outage."""
    engine.there.clear()
    for _ in range(10):
        breaker.trip()
    probes = [thread for thread in threading.enumerate() if thread.name == "breaker"]
    assert len(probes) == 1
    engine.there.set()
    wait_until(lambda: gate.is_open, "the probe ends")


def test_an_unexpected_error_does_not_end_the_probe(
    breaker: CircuitBreaker,
    engine: FlakyEngine,
    gate: Gate,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise a worker would never take a job again."""
    caplog.set_level(logging.DEBUG)
    engine.unexpected = RuntimeError("a secret word")
    breaker.trip()
    asked = engine.asked
    wait_until(lambda: engine.asked > asked + 2, "the probe goes on")
    engine.unexpected = None
    wait_until(lambda: gate.is_open, "the gate is open again")
    assert "secret" not in caplog.text


def test_a_trip_makes_the_catalog_look_again(
    breaker: CircuitBreaker, catalog: ModelCatalog, engine: FlakyEngine, wait_until: WaitUntil
) -> None:
    """Ollama may come back with other models."""
    assert catalog.revision("fake:1b") is not None
    asked = engine.asked
    assert catalog.revision("fake:1b") is not None
    assert engine.asked == asked, "the catalog uses its recent look"
    breaker.trip()
    wait_until(lambda: engine.asked > asked, "it probes")
    engine.there.clear()
    assert catalog.revision("fake:1b") is None
    engine.there.set()
