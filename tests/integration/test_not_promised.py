"""What a server of `/v1` does not promise, with a real worker: no digest, no refusal, no counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.producers import health
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import ContextOverflow
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


def ask_long(server: OpenAiServer, reply: Reply) -> dict[str, Any]:
    """The answer to a prompt of 3,000 words, to which the server says `reply`."""
    server.respond = lambda _: reply
    found: dict[str, Any] = tasks.generate.delay("word " * 3000, cache=False).get(timeout=20)
    return found


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


def test_a_prompt_that_the_server_cuts_is_found_out(start: Start, server: OpenAiServer) -> None:
    """It reads 1,000 of 3,000 words and says so in its counts alone: the job fails, in words."""
    start(NUM_CTX="4096")
    with pytest.raises(ContextOverflow):
        ask_long(server, Reply(prompt_tokens=1000))
    assert ask_long(server, Reply())["usage"]["prompt_tokens"] > 3000


def test_a_prompt_that_is_too_long_for_a_silent_server(start: Start, server: OpenAiServer) -> None:
    """LM Studio answers it in order and without a word (lm_studio_silent_overflow)."""
    server.facts = {"max_model_len": 2048}
    start()
    with pytest.raises(ContextOverflow):
        ask_long(server, Reply(chunks=(), prompt_tokens=3009, completion_tokens=0))


def test_a_server_that_counts_nothing(start: Start, server: OpenAiServer) -> None:
    """Its answers are answers; `health` says that their prompts count as nothing."""
    start()
    answer = ask_long(server, Reply(usage="never"))
    assert (answer["text"], answer["usage"]["completion_tokens"]) == ("Hello.", 2)
    wait_until(lambda: "does not say how many tokens" in notes(), "health says so")
