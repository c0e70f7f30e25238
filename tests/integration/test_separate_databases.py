"""Two services on one Redis, in databases of their own, hear nothing of each other."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()
SAME_ID = "the-same-id-in-both"
OTHER_DATABASE = os.environ["REDIS_URL"].removesuffix("/0") + "/1"


def in_the_other_database(code: str) -> str:
    """Run `code` in a producer of database 1 and return what it prints."""
    done = run_python("-c", f"{IMPORTS}\n{code}", REDIS_URL=OTHER_DATABASE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


IMPORTS = f"""
from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
SAME_ID = {SAME_ID!r}
"""


def listens(client: redis.Redis, task_id: str) -> bool:
    """Whether anybody listens for the result of a job."""
    return bool(client.pubsub_numsub(KEYS.announced(task_id))[0][1])


def test_a_caller_never_gets_the_other_databases_answer(redis_client: redis.Redis) -> None:
    """Nor its failure: an id is a name within one database."""
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(app.AsyncResult(SAME_ID).get, timeout=30)
        wait_until(lambda: listens(redis_client, SAME_ID), "the caller listens")
        in_the_other_database('app.backend.fail(SAME_ID, errors.ModelFailed("theirs"))')
        app.backend.fail(SAME_ID, errors.ModelMissing("ours"))
        with pytest.raises(errors.ModelMissing, match="ours"):
            waiting.result(timeout=30)


def test_a_cancel_stops_no_job_of_the_other_database(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """A staging service beside production's cancels its own job of that name only."""
    ollama.respond = lambda _: Script(chunks=("a",) * 60, pause_seconds=0.1)
    start_worker()
    start_worker(REDIS_URL=OTHER_DATABASE)
    ours = tasks.generate.apply_async(("ours",), task_id=SAME_ID)
    in_the_other_database('tasks.generate.apply_async(("theirs",), task_id=SAME_ID)')
    wait_until(lambda: len(ollama.seen) == 2, "both run")
    assert in_the_other_database("print(cancel(SAME_ID))") == "running"
    theirs = "app.AsyncResult(SAME_ID).get(timeout=20, propagate=False)"
    assert in_the_other_database(f"print(type({theirs}).__name__)") == "Cancelled"
    assert status(SAME_ID) is JobState.RUNNING
    assert ours.get(timeout=30)["text"].startswith("aaa")


def test_what_is_heard_is_not_believed(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Channels carry hints, which anybody can send: the record says what holds."""
    ollama.respond = lambda _: Script(chunks=("a",) * 30, pause_seconds=0.1)
    start_worker()
    job = tasks.generate.delay("long")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(job.get, timeout=30)
        wait_until(lambda: listens(redis_client, job.id), "the caller listens")
        wait_until(lambda: ollama.seen, "it runs")
        forged = {"status": "SUCCESS", "result": "forged", "task_id": job.id, "children": []}
        redis_client.publish(KEYS.announced(job.id), json.dumps(forged))
        assert redis_client.publish(KEYS.cancel_channel, job.id) == 1, "the worker hears it"
        assert waiting.result(timeout=30)["text"].startswith("aaa")
    assert len(ollama.seen) == 1
