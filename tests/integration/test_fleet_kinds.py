"""One worker with an Ollama at home and a server of the other kind elsewhere, read from TOML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import health, status
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.doubles.openai_server import OpenAiServer
from tests.integration.conftest import StartWorker

KEY = "sk-never-to-be-seen-in-any-place"

FILE = """
[[engines]]
name = "home"
kind = "ollama"
url = "{home}"
slots = 2

[[engines]]
name = "elsewhere"
kind = "openai_compatible"
url = "{elsewhere}"
api_key_file = "{key}"
leaves_the_house = true
slots = 3

[[engines.models]]
name = "large"
aliases = ["big"]
prompt_usd = 0
completion_usd = 0
"""


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    """It takes our key and no other."""
    with OpenAiServer(api_key=KEY) as server:
        yield server


@pytest.fixture
def worker(
    start_worker: StartWorker, tmp_path: Path, ollama: FakeOllama, server: OpenAiServer
) -> WorkerProcess:
    """A worker with both."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    path = tmp_path / "engines.toml"
    path.write_text(FILE.format(home=ollama.host, elsewhere=server.url, key=tmp_path / "key"))
    return start_worker(ENGINES_FILE=str(path), MODEL_WAIT_SECONDS="3600", LOG_LEVEL="DEBUG")


def reachable() -> dict[str, bool]:
    """What health says of each engine."""
    (shown,) = health()["workers"]
    return {one["name"]: one["reachable"] for one in shown["engines"]}


def ask(model: str | None, number: int) -> Any:
    """A new question."""
    return tasks.generate.delay(f"question {number}", model=model, cache=False)


def test_the_house_and_elsewhere_do_not_close_each_other(
    worker: WorkerProcess, ollama: FakeOllama, server: OpenAiServer
) -> None:
    """The jobs of the one that is away wait; each comes back by itself."""
    for model in (None, "big"):
        assert ask(model, 0).get(timeout=20)["text"]
    server.stop()
    waits = ask("big", 1)
    assert [ask(None, n).get(timeout=20)["model"] for n in (1, 2, 3)] == ["fake:1b"] * 3
    wait_until(lambda: reachable() == {"home": True, "elsewhere": False}, "health shows it")
    wait_until(lambda: status(waits.id) is JobState.PARKED, "it waits")
    server.start()
    assert waits.get(timeout=60)["model"] == "large"
    ollama.stop()
    waits = ask(None, 4)
    assert [ask("large", n).get(timeout=20)["model"] for n in (4, 5, 6)] == ["large"] * 3
    wait_until(lambda: reachable() == {"home": False, "elsewhere": True}, "health shows it")
    assert health()["status"] == "down", "calls that name no model are not answered"
    ollama.start()
    assert waits.get(timeout=20)["model"] == "fake:1b"
    wait_until(lambda: health()["status"] == "healthy", "all is well again")


def test_the_key_goes_to_its_server_and_nowhere_else(
    worker: WorkerProcess, server: OpenAiServer, redis_client: redis.Redis
) -> None:
    """Not into logs, health or Redis; and what is not cached is told, with what to do."""
    assert ask("large", 7).get(timeout=20)["text"]
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    (shown,) = health()["workers"]
    elsewhere = shown["engines"][1]
    assert elsewhere["leaves_the_house"]
    assert (elsewhere["slots"], elsewhere["models"]) == (3, ["large"])
    assert any("'large:latest' are not cached" in note for note in shown["notes"])
    told = [worker.log_path.read_text(), str(health())]
    for key in redis_client.scan_iter():
        if redis_client.type(key) == "string":
            told.append(str(redis_client.get(key)))
        elif redis_client.type(key) == "hash":
            told.append(str(redis_client.hgetall(key)))
    assert "engine: name=elsewhere" in told[0]
    assert KEY not in "".join(told)
