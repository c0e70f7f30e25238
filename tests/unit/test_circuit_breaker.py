"""The breaker: it closes the gate when the engine is away, probes, and opens it again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from local_llm_service.worker.engine import Stoppable, TextSink
from local_llm_service.worker.errors import OllamaUnreachable
from local_llm_service.worker.intake import circuit_breaker
from local_llm_service.worker.intake.circuit_breaker import CircuitBreaker
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.prompt import Completion, Model, Prompt
from local_llm_service.worker.settings import Settings

WaitUntil = Callable[..., object]


class FlakyEngine:
    """Answers while `there` is set; counts how often it was asked."""

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
        """Nothing to release."""


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
    """One that probes every few milliseconds."""
    monkeypatch.setattr(circuit_breaker, "FIRST_PROBE_SECONDS", 0.002)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE_SECONDS", 0.01)
    return CircuitBreaker(engine, gate, catalog)


def test_an_engine_that_answers_trips_nothing(breaker: CircuitBreaker, gate: Gate) -> None:
    """A stream can break while its server is well."""
    assert not breaker.is_away()
    assert gate.is_open


def test_an_engine_that_is_away_closes_the_gate_until_it_answers(
    breaker: CircuitBreaker, gate: Gate, engine: FlakyEngine, wait_until: WaitUntil
) -> None:
    """No job is taken in between, so none uses up a try."""
    engine.there.clear()
    assert breaker.is_away()
    assert gate.reasons == [Reason.OLLAMA]
    asked = engine.asked
    wait_until(lambda: engine.asked > asked + 2, "it probes")
    assert not gate.is_open
    engine.there.set()
    wait_until(lambda: gate.is_open, "the gate is open again")


def test_it_opens_for_its_own_reason_only(
    breaker: CircuitBreaker, gate: Gate, engine: FlakyEngine, wait_until: WaitUntil
) -> None:
    """A worker that drains stays closed when Ollama comes back."""
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
    wait_until(lambda: gate.is_open, "the probe has ended")


def test_an_unexpected_error_does_not_end_the_probe(
    breaker: CircuitBreaker,
    engine: FlakyEngine,
    gate: Gate,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else a worker would take nothing for ever."""
    caplog.set_level(logging.DEBUG)
    engine.unexpected = RuntimeError("a secret word")
    breaker.trip()
    asked = engine.asked
    wait_until(lambda: engine.asked > asked + 2, "it goes on")
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
    assert engine.asked == asked, "what was seen a moment ago is used"
    breaker.trip()
    wait_until(lambda: engine.asked > asked, "it probes")
    engine.there.clear()
    assert catalog.revision("fake:1b") is None
    engine.there.set()
