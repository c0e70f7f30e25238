"""One worker with several engines: each job goes to the engine of its model, and no further."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import explain, health, models, status
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import ModelMissing
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python


class Crowd:
    """Answers after a while, and counts how many of a model it answers at once."""

    def __init__(self) -> None:
        self.server = FakeOllama(self._respond)
        self.most: dict[str, int] = {}
        self.most_in_all = 0

    def _respond(self, body: dict[str, Any]) -> Script:
        running = [*self.server._running, body["model"]]
        now, model = running.count(body["model"]), body["model"]
        self.most[model] = max(now, self.most.get(model, 0))
        self.most_in_all = max(len(running), self.most_in_all)
        return Script(("Hello", "."), pause_seconds=0.02)


@pytest.fixture
def two() -> Iterator[tuple[FakeOllama, FakeOllama]]:
    """Two servers: the first has small:1b and tiny:1b, the second big:7b."""
    first, second = Crowd().server, Crowd().server
    first.models, second.models = ("small:1b", "tiny:1b"), ("big:7b",)
    with first, second:
        yield first, second


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an ENGINES_FILE; returns its path."""

    def write(name: str = "engines.json", **content: Any) -> str:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return str(path)

    return write


def engines_of(first: FakeOllama, second: FakeOllama) -> list[dict[str, Any]]:
    """Both, with a slot for each model of the first and an alias at the second."""
    return [
        {
            "name": "one", "kind": "ollama", "url": first.host, "slots": 2,
            "model_slots": "small:1b=1, tiny:1b=1",
            "models": [{"name": "small:1b"}, {"name": "tiny:1b"}],
        },
        {
            "name": "other", "kind": "ollama", "url": second.host, "slots": 3,
            "models": [{"name": "big:7b", "aliases": ["big"]}],
        },
    ]  # fmt: skip


@pytest.fixture
def worker(start_worker: StartWorker, write: Write, two: tuple[FakeOllama, FakeOllama]) -> Any:
    """A worker with both servers, which waits for a model as long as anybody asks."""
    path = write(engines=engines_of(*two))
    return start_worker(ENGINES_FILE=path, MODEL_NAME="small:1b", MODEL_WAIT_SECONDS="3600")


def asked(server: FakeOllama) -> list[str]:
    """The models that a server was asked for."""
    return [one.body["model"] for one in server.seen]


def test_each_job_goes_to_the_engine_of_its_model(
    worker: WorkerProcess, two: tuple[FakeOllama, FakeOllama]
) -> None:
    """By its name, an alias, the route that is always there, or none; `health` shows them all."""
    first, second = two
    names = {"big:7b": "big:7b", "big": "big:7b", "auto": "small:1b", "tiny:1b": "tiny:1b"}
    for given, model in names.items():
        assert tasks.generate.delay(given, model=given).get(timeout=20)["model"] == model
    assert tasks.generate.delay("none").get(timeout=20)["model"] == "small:1b"
    assert asked(second) == ["big:7b", "big:7b"]
    assert asked(first) == ["small:1b", "tiny:1b", "small:1b"]
    assert [one["name"] for one in models()] == ["big:7b", "small:1b", "tiny:1b"]
    (shown,) = health()["workers"]
    assert (shown["slots"], shown["routes"], shown["aliases"]) == (5, ["auto"], {"big": "big:7b"})
    assert [(one["name"], one["slots"], one["models"]) for one in shown["engines"]] == [
        ("one", 2, ["small:1b", "tiny:1b"]),
        ("other", 3, ["big:7b"]),
    ]
    assert all(one["reachable"] and not one["leaves_the_house"] for one in shown["engines"])
    said = run_python("-m", "local_llm_service.producers", "health").stdout.splitlines()
    for line, told in zip(
        said[1:], (r".*\d/5 slots  2 engines", r" +one  \d/2 slots  Ollama 0\.33\.0",
                   r" +other  \d/3 slots  Ollama 0\.33\.0"), strict=False
    ):  # fmt: skip
        assert re.fullmatch(told, line), line
    assert len(said) >= 4


def test_an_engine_that_is_away_closes_only_itself(
    worker: WorkerProcess, two: tuple[FakeOllama, FakeOllama]
) -> None:
    """Its jobs wait, without a try, and are answered when it is back; the other's go on."""
    first, second = two
    assert tasks.generate.delay("before", model="big").get(timeout=20)["model"] == "big:7b"
    second.stop()
    waits = [tasks.generate.delay(f"{n}", model="big", cache=False) for n in range(3)]
    for n in range(5):
        answer = tasks.generate.delay(f"{n}", cache=False).get(timeout=20)
        assert answer["model"] == "small:1b"

    def is_shown_away() -> bool:
        (shown,) = health()["workers"]
        return [one["reachable"] for one in shown["engines"]] == [True, False]

    wait_until(is_shown_away, "health shows it")
    assert health()["status"] == "healthy"
    assert any("engine other is away" in note for note in health()["workers"][0]["notes"])
    for one in waits:
        wait_until(lambda one=one: status(one.id) is JobState.PARKED, "it waits")
    assert "does not answer" in str(explain(waits[0].id))
    second.start()
    assert {one.get(timeout=20)["model"] for one in waits} == {"big:7b"}
    assert asked(first) == ["small:1b"] * 5


def test_slots_hold_for_each_engine_and_each_model(
    worker: WorkerProcess, two: tuple[FakeOllama, FakeOllama]
) -> None:
    """A model that is full keeps no other one waiting."""
    first, second = two
    jobs = [
        tasks.generate.delay(f"{n} {model}", model=model, cache=False)
        for n in range(8)
        for model in ("small:1b", "big", "tiny:1b", "auto")
    ]
    for job in jobs:
        job.get(timeout=30)
    crowds = [server.respond.__self__ for server in two]  # type: ignore[attr-defined]
    assert crowds[0].most == {"small:1b": 1, "tiny:1b": 1}
    assert crowds[0].most_in_all == 2
    assert crowds[1].most_in_all == 3
    assert (len(first.seen), len(second.seen)) == (24, 8)


def test_a_long_job_makes_room_in_its_engine(
    worker: WorkerProcess, two: tuple[FakeOllama, FakeOllama]
) -> None:
    """Though the worker has other slots: a more urgent job for the same model waits for its one.
    One for a model with a free slot makes nobody leave."""
    first, _ = two
    text = " ".join(f"Word{n} is a word of a long text." for n in range(4000))
    long = tasks.summarize.delay(text, model="small:1b", priority="low", deadline_seconds=60)
    wait_until(lambda: len(first.seen) > 1, "its first steps run")
    tasks.generate.delay("other", model="big").get(timeout=20)
    record = process_store().jobs.record(long.id)
    assert record is not None
    assert record.yields == 0
    before = len(first.seen)
    tasks.generate.delay("urgent", model="small:1b").get(timeout=20)
    assert status(long.id) in (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)
    record = process_store().jobs.record(long.id)
    assert record is not None
    assert record.yields == 1
    assert len(first.seen) <= before + 3
    long.get(timeout=60)


def test_two_workers_with_different_files(
    start_worker: StartWorker, write: Write, two: tuple[FakeOllama, FakeOllama],
    redis_client: redis.Redis,
) -> None:  # fmt: skip
    """Each takes the jobs that it serves. A name that nobody serves fails, also as an alias."""
    one, other = engines_of(*two)
    start_worker(ENGINES_FILE=write("one.json", engines=[one]), MODEL_NAME="small:1b")
    start_worker(ENGINES_FILE=write("other.json", engines=[other]), MODEL_NAME="big:7b")
    jobs = {
        model: tasks.generate.delay(model, model=model) for model in ("small:1b", "big", "big:7b")
    }
    got = {model: job.get(timeout=20)["model"] for model, job in jobs.items()}
    assert got == {"small:1b": "small:1b", "big": "big:7b", "big:7b": "big:7b"}
    with pytest.raises(ModelMissing) as missing:
        tasks.generate.delay("hi", model="huge").get(timeout=20)
    assert "use one that is there: big, big:7b, small:1b" in missing.value.hint
