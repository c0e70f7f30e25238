"""A prompt that nobody wants any more: until Ollama has evaluated it, its slot takes no job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.producers import service
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import Cancelled, DeadlineExceeded, EngineTimeout
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.settings import Settings
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker
from tests.integration.test_engine import Caller

LONG = Script(first_seconds=3.0)
MODEL = "fake:1b"


@pytest.fixture
def one_slot(ollama: FakeOllama) -> FakeOllama:
    """An Ollama 0.24 with one slot; a prompt that says "long" takes it three seconds."""
    ollama.slots = 1
    ollama.respond = lambda body: LONG if "long" in str(body["messages"]) else Script()
    return ollama


@pytest.fixture
def engine(one_slot: FakeOllama) -> Iterator[OllamaEngine]:
    """Waits for a first token for less time than the long prompt takes."""
    made = OllamaEngine(
        Settings(ollama_host=one_slot.host, model_name=MODEL, first_token_seconds=1)
    )
    yield made
    made.close()


def ask(engine: OllamaEngine, text: str, seconds: float = 20, **options: Any) -> str:
    """Run one prompt to its end."""
    prompt = Prompt(({"role": "user", "content": text},), 100)
    return engine.complete(prompt, model=MODEL, remaining_seconds=seconds, **options).text


def test_the_slot_is_occupied_until_the_prompt_is_evaluated(
    one_slot: FakeOllama, engine: OllamaEngine
) -> None:
    """The caller has its error at once; the slot waits, says so, and tells when it is free."""
    caller, freed = Caller(), threading.Event()
    engine.on_free(freed.set)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(ask, engine, "long", stoppable=caller)
        wait_until(lambda: bool(one_slot.seen), "the request is there")
        caller.request_stop(Cancelled("nobody wants it"))
        with pytest.raises(Cancelled):
            running.result(timeout=10)
    assert engine.occupied == 1
    (note,) = engine.notes()
    assert note.startswith("1 slot waits until Ollama has evaluated a prompt that nobody wants")
    assert freed.wait(10)
    assert engine.occupied == 0
    assert engine.notes() == []
    assert [probe.options["num_predict"] for probe in one_slot.probes] == [1]


def test_a_probe_reloads_no_model(one_slot: FakeOllama, engine: OllamaEngine) -> None:
    """It sends the same runner options as every job."""
    with pytest.raises(DeadlineExceeded):
        ask(engine, "long", seconds=0.3)
    wait_until(lambda: engine.occupied == 0, "the slot is free")
    bodies = [one_slot.seen[0].body, one_slot.probes[0].body]
    wanted = ("model", "truncate", "shift", "stream")
    assert len({tuple(body[name] for name in wanted) for body in bodies}) == 1
    assert len({body["options"]["num_ctx"] for body in bodies}) == 1


def test_the_wait_for_a_first_token_is_over_when_it_is_too_long(
    one_slot: FakeOllama, engine: OllamaEngine
) -> None:
    """A time-out leaves a prompt behind as a cancel does."""
    with pytest.raises(EngineTimeout):
        ask(engine, "long")
    assert engine.occupied == 1
    wait_until(lambda: engine.occupied == 0, "the slot is free")
    assert ask(engine, "short") == "Hello."


def test_no_prompt_is_left_behind_once_text_has_come(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """Both versions stop at once then."""
    ollama.respond = lambda _: Script(chunks=("a",) * 50, pause_seconds=0.1)
    heard: list[str] = []
    caller = Caller()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(ask, engine, "x", stoppable=caller, on_text=heard.append)
        wait_until(lambda: bool(heard), "text has come")
        caller.request_stop(Cancelled("nobody wants it"))
        with pytest.raises(Cancelled):
            running.result(timeout=5)
    assert engine.occupied == 0
    assert ollama.probes == []


def test_an_ollama_that_goes_away_frees_the_slot(
    one_slot: FakeOllama, engine: OllamaEngine
) -> None:
    """Its work has gone with it."""
    with pytest.raises(DeadlineExceeded):
        ask(engine, "long", seconds=0.3)
    assert engine.occupied == 1
    one_slot.stop()
    try:
        wait_until(lambda: engine.occupied == 0, "the slot is free")
    finally:
        one_slot.start()


def test_another_worker_takes_the_jobs_meanwhile(
    one_slot: FakeOllama, start_worker: StartWorker
) -> None:
    """The slot of the first host is occupied; its caller has the cancel, and health the reason."""
    one_slot.respond = lambda body: Script(first_seconds=60)
    with FakeOllama() as other:
        start_worker(CONCURRENCY="1")
        long = tasks.generate.delay("long")
        wait_until(lambda: bool(one_slot.seen), "the long prompt is being evaluated")
        service.cancel(long.id)
        with pytest.raises(Cancelled):
            long.get(timeout=10)
        start_worker(CONCURRENCY="1", OLLAMA_HOST=other.host)
        answers = [tasks.generate.delay(f"question {number}") for number in range(3)]
        assert [answer.get(timeout=20)["text"] for answer in answers] == ["Hello."] * 3
        assert len(other.seen) == 3
        wait_until(lambda: bool(_notes()), "health says what the slot waits for")
        assert "until Ollama has evaluated a prompt that nobody wants" in _notes()[0]


def _notes() -> list[str]:
    return [note for worker in service.health()["workers"] for note in worker["notes"]]


def test_a_second_model_waits_for_the_answers_of_the_first(ollama: FakeOllama) -> None:
    """Its wait for a reload is not its wait for a first token."""
    ollama.models, ollama.max_loaded = ("fake:1b", "other:1b"), 1
    ollama.respond = lambda body: Script(first_seconds=0.8)
    engine = OllamaEngine(
        Settings(
            ollama_host=ollama.host,
            model_name=MODEL,
            first_token_seconds=1,
            ollama_max_loaded_models=1,
        )
    )
    prompt = Prompt(({"role": "user", "content": "x"},), 100)

    def complete(model: str) -> str:
        return engine.complete(prompt, model=model, remaining_seconds=20).model

    try:
        with ThreadPoolExecutor() as threads:
            first = threads.submit(complete, "fake:1b")
            wait_until(lambda: len(ollama.seen) == 1, "the first model works")
            assert threads.submit(complete, "other:1b").result(timeout=10) == "other:1b"
            assert first.result() == "fake:1b"
    finally:
        engine.close()
