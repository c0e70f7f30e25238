"""A real Flower process shows workers, jobs and queue lengths to operators."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.flower_process import FlowerProcess
from local_llm_service.worker.errors import Cancelled
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker


@pytest.fixture
def flower(redis_client: object) -> Iterator[FlowerProcess]:
    """Flower with its API open on the loopback interface."""
    environment = {"REDIS_URL": os.environ["REDIS_URL"], "FLOWER_UNAUTHENTICATED_API": "true"}
    with FlowerProcess(environment) as process:
        yield process


def ask(flower: FlowerProcess, path: str, method: str = "GET") -> Any:
    """Return the answer of Flower's API."""
    request = urllib.request.Request(f"{flower.url}{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_flower_sees_queues_and_jobs_and_its_button_cancels(
    flower: FlowerProcess, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Flower shows queue lengths and the job under its id, and revokes with terminate."""
    ollama.respond = lambda _: Script(chunks=("a",) * 100, pause_seconds=0.5)
    start_worker(CONCURRENCY="1")
    running = tasks.generate.delay("canary in the prompt")
    wait_until(lambda: ollama.seen, "the job runs")
    tasks.summarize.delay("waits " * 60)

    def lengths() -> dict[str, int]:
        queues = ask(flower, "/api/queues/length")["active_queues"]
        return {queue["name"]: queue["messages"] for queue in queues}

    wait_until(lambda: lengths().get("llm.normal") == 1, "Flower sees the waiting job")
    wait_until(lambda: running.id in ask(flower, "/api/tasks"), "Flower sees the running job")
    assert "canary" not in json.dumps(ask(flower, f"/api/task/info/{running.id}"))
    ask(flower, f"/api/task/revoke/{running.id}?terminate=true", method="POST")
    with pytest.raises(Cancelled):
        running.get(timeout=20)


def test_flower_hears_how_a_joined_job_ended(
    flower: FlowerProcess, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The job ran in no slot, and must not stay "started" forever."""
    ollama.respond = lambda _: Script(first_seconds=2)
    start_worker(CONCURRENCY="2")
    results = [tasks.generate.delay("same") for _ in range(2)]
    origins = {result.get(timeout=20)["origin"]: result.id for result in results}

    def state(task_id: str) -> str | None:
        try:
            return str(ask(flower, f"/api/task/info/{task_id}")["state"])
        except urllib.error.HTTPError:
            return None

    wait_until(lambda: state(origins["joined"]) == "SUCCESS", "Flower sees the joined job end")
    wait_until(lambda: state(origins["computed"]) == "SUCCESS", "Flower sees the computed job end")
