"""Flower with its login: each button does what it says, and each job has its true state."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.producers import cancel, health
from local_llm_service.worker.embedded.processes.flower_page import LOGIN, made_login
from local_llm_service.worker.embedded.processes.flower_process import FlowerProcess
from local_llm_service.worker.errors import Cancelled, DeadlineExceeded
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()


@pytest.fixture
def flower(redis_client: redis.Redis) -> Iterator[FlowerProcess]:
    """Flower as `make up` starts it, once it listens to events."""
    with FlowerProcess({"REDIS_URL": os.environ["REDIS_URL"]}) as process:
        wait_until(lambda: redis_client.pubsub_numpat(), "Flower listens to events")
        yield process


def ask(flower: FlowerProcess, path: str, method: str = "GET", login: str | None = None) -> Any:
    """Status and body of Flower's answer; with its login, unless `login` says otherwise."""
    request = urllib.request.Request(f"{flower.url}{path}", method=method)
    credentials = flower.login if login is None else login
    request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def state(flower: FlowerProcess, task_id: str) -> str | None:
    """The state of a job as Flower has it; None while it does not know the job."""
    status, body = ask(flower, f"/api/task/info/{task_id}")
    return str(json.loads(body)["state"]) if status == 200 else None


def test_a_login_is_made_only_where_none_is_given() -> None:
    """Compose passes an unset variable as an empty one."""
    made = made_login([], {LOGIN: ""})
    assert made is not None
    assert made.startswith("operator:")
    assert made != made_login([], {})
    assert made_login([], {LOGIN: "me:word"}) is None
    assert made_login(["--basic-auth=me:word"], {}) is None
    assert made_login([], {"FLOWER_UNAUTHENTICATED_API": "true"}) is None


def test_nothing_answers_without_the_login(flower: FlowerProcess) -> None:
    """Neither page nor button."""
    for path, method in (("/tasks", "GET"), ("/api/task/revoke/x", "POST")):
        assert ask(flower, path, method, login="operator:guess")[0] == 401
    assert ask(flower, "/tasks")[0] == 200


def test_a_given_login_is_taken(redis_client: redis.Redis) -> None:
    """FLOWER_BASIC_AUTH=user:password."""
    environment = {"REDIS_URL": os.environ["REDIS_URL"], LOGIN: "me:word"}
    with FlowerProcess(environment) as process:
        assert ask(process, "/tasks", login="me:word")[0] == 200


def test_queued_jobs_and_cache_hits_appear_and_what_was_ended_is_revoked(
    flower: FlowerProcess, start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Cancelled and expired jobs are no faults: they are REVOKED, not red."""
    ollama.respond = lambda body: (
        Script(chunks=("a",) * 200, pause_seconds=0.2)
        if "slow" in body["messages"][-1]["content"]
        else Script()
    )
    start_worker(CONCURRENCY="1")
    tasks.generate.delay("once").get(timeout=20)
    wait_until(lambda: redis_client.exists(KEYS.consensus), "callers may look into the cache")
    hit = tasks.generate.delay("once", priority="high")
    assert hit.get(timeout=20)["origin"] == "cached"
    running = tasks.generate.delay("slow")
    wait_until(lambda: len(ollama.seen) == 2, "the slot is taken")
    queued, unwanted = (tasks.generate.delay(f"waits {n}") for n in range(2))
    late = tasks.generate.delay("too late", deadline_seconds=1)
    other = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    by_name = other.send_task("llm.generate", ["by name"], queue="llm.low")

    wait_until(lambda: state(flower, hit.id) == "SUCCESS", "the cache hit is shown")
    wait_until(lambda: state(flower, running.id) == "STARTED", "the running job is shown")
    for waiting in (queued, by_name):
        wait_until(lambda one=waiting: state(flower, one.id) == "PENDING", "a queued job is shown")
    with pytest.raises(DeadlineExceeded):
        late.get(timeout=20)
    cancel(unwanted.id)
    assert ask(flower, f"/api/task/revoke/{running.id}?terminate=true", "POST")[0] == 200
    for ended in (unwanted, running):
        with pytest.raises(Cancelled):
            ended.get(timeout=20)
    for ended in (unwanted, late, running):
        wait_until(lambda one=ended: state(flower, one.id) == "REVOKED", "it is shown as revoked")
    for done in (queued, by_name):
        wait_until(lambda one=done: state(flower, one.id) == "SUCCESS", "the queue goes on")
    names = re.findall(r'worker="([^"]+)"', ask(flower, "/metrics")[1])
    assert len(set(names)) == 1, "callers are no workers"


def test_a_job_is_shown_without_any_worker(
    flower: FlowerProcess, redis_client: redis.Redis
) -> None:
    """Somebody looks at Flower when nothing is answered."""
    job = tasks.generate.delay("waits")
    wait_until(lambda: state(flower, job.id) == "PENDING", "the queued job is shown")
    assert ask(flower, f"/api/task/revoke/{job.id}", "POST")[0] == 200
    wait_until(lambda: state(flower, job.id) == "REVOKED", "the cancelled job is shown")


def test_each_button_works_or_says_why_not(
    flower: FlowerProcess, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """What Flower's pages post, with its login."""
    worker = start_worker(CONCURRENCY="2")
    name = urllib.parse.quote(worker.worker_name)
    wait_until(lambda: worker.worker_name in ask(flower, "/api/workers?refresh=1")[1], "the worker")

    def press(path: str) -> tuple[int, str]:
        status, body = ask(flower, path.format(name=name), "POST")
        return status, body

    def slots() -> int:
        return int(health()["workers"][0]["slots"])

    assert press("/api/worker/pool/grow/{name}?n=2")[0] == 200
    wait_until(lambda: slots() == 4, "health shows the new slots")
    ollama.respond = lambda _: Script(first_seconds=2)
    jobs = [tasks.generate.delay(f"at once {n}", cache=False) for n in range(4)]
    wait_until(lambda: len(ollama.seen) == 4, "four run at once")
    for job in jobs:
        job.get(timeout=20)
    assert press("/api/worker/pool/shrink/{name}?n=3")[0] == 200
    wait_until(lambda: slots() == 1, "health shows the slot that is left")
    assert press("/api/worker/pool/shrink/{name}?n=1")[0] == 403
    for path, reason in (
        ("/api/worker/pool/restart/{name}", "not enabled"),
        ("/api/worker/pool/autoscale/{name}?min=1&max=3", "not enabled"),
        ("/api/task/timeout/llm.generate?workername={name}&hard=5", "deadline_seconds"),
    ):
        status, said = press(path)
        assert (status, reason in said) == (403, True), said
    assert press("/api/worker/queue/cancel-consumer/{name}?queue=llm.low")[0] == 200
    waiting = tasks.generate.delay("low", priority="low")
    assert press("/api/worker/queue/add-consumer/{name}?queue=other")[0] == 200
    assert press("/api/worker/queue/add-consumer/{name}?queue=llm.low")[0] == 200
    assert waiting.get(timeout=20)["text"] == "Hello."
    assert "queue other is not consumed" in worker.log_path.read_text()
    assert press("/api/worker/shutdown/{name}")[0] == 200
    wait_until(lambda: not worker.running, "the worker has ended")
