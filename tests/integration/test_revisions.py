"""A server that tells no digest: what is cached of it, and what `health` says of that.

All with a real worker beside a scripted server of `/v1`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.producers import health
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.conftest import wait_until
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.integration.conftest import StartWorker

KEY = "sk-revisions-0123456789"


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    """A scripted vLLM that wants a key."""
    with OpenAiServer(api_key=KEY) as made:
        yield made


Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(
    start_worker: StartWorker, server: OpenAiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Start:
    """Start a worker with this server alone; `revision` as ENGINES_FILE has it."""

    def start(revision: str | None = None, **environment: str) -> WorkerProcess:
        model: dict[str, Any] = {"name": "large"} | ({"revision": revision} if revision else {})
        entry = {
            "name": "vllm", "kind": "openai_compatible", "url": server.url, "slots": 2,
            "api_key_env": "VLLM_KEY", "models": [model],
        }  # fmt: skip
        path = tmp_path / "engines.json"
        path.write_text(json.dumps({"engines": [entry]}))
        return start_worker(ENGINES_FILE=str(path), MODEL_NAME="large", VLLM_KEY=KEY, **environment)

    return start


def origins(calls: int) -> list[str]:
    """Where the answers to the same question come from, asked one after the other."""
    return [tasks.generate.delay("Why?").get(timeout=20)["origin"] for _ in range(calls)]


def notes() -> str:
    """All that the workers' notes say."""
    return "\n".join(note for shown in health()["workers"] for note in shown["notes"])


def test_without_a_revision_nothing_is_cached(start: Start, server: OpenAiServer) -> None:
    """Each call is computed, and `health` says why and what would change it; it names no key."""
    start()
    assert origins(3) == ["computed"] * 3
    assert len(server.requests) == 3
    wait_until(lambda: "MODEL_REVISION" in notes(), "health says why")
    assert "large" in notes()
    assert KEY not in json.dumps(health())


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_revision_stands_for_the_digest(start: Start, server: OpenAiServer, where: str) -> None:
    """Another one is another model: no answer of before is given again."""

    def start_with(revision: str) -> WorkerProcess:
        if where == "file":
            return start(revision)
        return start(MODEL_REVISION=revision)

    worker = start_with("2024-09")
    assert origins(3) == ["computed", "cached", "cached"]
    assert len(server.requests) == 1
    assert "MODEL_REVISION" not in notes()
    worker.kill()
    worker = start_with("2024-10")
    assert origins(2) == ["computed", "cached"]
    assert len(server.requests) == 2
    worker.kill()
    start_with("2024-09")
    assert origins(1) == ["cached"]
    assert len(server.requests) == 2


def test_without_a_revision_nobody_joins(start: Start, server: OpenAiServer) -> None:
    """Jobs that ask the same at once are computed each, as nobody knows that they are the same."""
    server.respond = lambda _: Reply(pause_seconds=0.05)
    start()
    waiting = [tasks.generate.delay("Together?") for _ in range(4)]
    assert [one.get(timeout=20)["origin"] for one in waiting] == ["computed"] * 4
    assert len(server.requests) == 4
