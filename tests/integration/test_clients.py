"""Both clients with a real worker: what they get, and what they say of a job that runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import redis

from local_llm_service import AsyncClient
from local_llm_service.tasks.compress import CompressAnswer
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.tasks.summarize import SummarizeAnswer
from local_llm_service.worker.app import app
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import Cancelled, ModelMissing
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.faces import Face

SHARED_WORKER = {"CONCURRENCY": "4"}


@pytest.fixture(params=[False, True], ids=["threads", "event loop"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each client in turn."""
    face = Face(is_async=request.param)
    yield face
    face.end()


def test_answers_have_the_types_of_their_kinds(
    shared_worker: WorkerProcess, shared_ollama: FakeOllama, face: Face
) -> None:
    """Also of a job that is known by its id alone. A repeated question is answered at the call."""
    shared_ollama.respond = lambda _: Script(chunks=("It rained.",))
    asked = [
        (face.generate(f"a {face.client}"), GenerateAnswer),
        (face.summarize(f"b {face.client}"), SummarizeAnswer),
        (face.submit("compress", {"messages": [{"role": "user", "content": "c"}]}), CompressAnswer),
    ]
    for job, answer in asked:
        assert type(job.result(30)) is type(face.job(job.id).result()) is answer
        assert face.job(job.id).progress() == Progress(1, 1, "succeeded")
    again = face.generate(f"a {face.client}")
    shared_ollama.respond = lambda _: Script(status=500)
    assert again.job._facts.result is not None, "no round trip is left to do"
    assert (again.result(0).text, again.result().origin) == ("It rained.", "cached")
    assert again.status() is JobState.SUCCEEDED


def test_a_failure_is_the_jobs_own_error(
    shared_worker: WorkerProcess, shared_ollama: FakeOllama, face: Face
) -> None:
    """By its class, with hint."""
    job = face.generate("hi", model="nobody/has:it", cache=False)
    with pytest.raises(ModelMissing, match="nobody/has:it"):
        job.result(30)
    assert job.status() is JobState.FAILED
    assert job.progress().done == 0


def test_a_job_that_runs_is_cancelled(
    shared_worker: WorkerProcess, shared_ollama: FakeOllama, face: Face
) -> None:
    """Whoever waits for it is told."""
    shared_ollama.respond = lambda _: Script(chunks=("a",) * 1000, pause_seconds=0.05)
    job = face.generate("long", cache=False)
    wait_until(lambda: job.status() is JobState.RUNNING, "it runs")
    assert job.cancel() is JobState.RUNNING
    with pytest.raises(Cancelled):
        job.result(30)


def test_a_job_sent_by_name_is_waited_for(
    shared_worker: WorkerProcess, shared_ollama: FakeOllama, shared_redis: redis.Redis, face: Face
) -> None:
    """It has no record until a worker collects it: not a reason to say that there is none."""
    shared_ollama.respond = lambda _: Script(chunks=("late",))
    name = f"by-name-{face.client is None}-{id(face)}"
    threading.Timer(
        0.7,
        lambda: app.send_task("llm.generate", ("hi",), {"cache": False}, task_id=name),
    ).start()
    assert face.job(name).result().text == "late"


def subscribers(client: redis.Redis) -> list[dict[str, str]]:
    """Connections on which somebody listens to many channels: for results. A worker has few."""
    return [one for one in client.client_list() if int(one["sub"]) > 10]


def test_many_tasks_of_one_loop_share_their_connections(
    shared_worker: WorkerProcess, shared_ollama: FakeOllama, shared_redis: redis.Redis
) -> None:
    """300 jobs at once: 8 connections for commands, one that listens, no thread."""
    shared_ollama.respond = lambda body: Script(chunks=(f"<{body['messages'][-1]['content']}>",))

    async def main() -> None:
        threads = threading.active_count()
        async with AsyncClient() as client:
            calls = (client.generate(f"n {number}", cache=False) for number in range(300))
            jobs = await asyncio.gather(*calls)
            asked = [asyncio.create_task(job.result(60)) for job in jobs]
            while not (listening := subscribers(shared_redis)):
                await asyncio.sleep(0.01)
            assert len(listening) == 1
            pool = client.here()._redis.connection_pool
            assert len(pool._available_connections) + len(pool._in_use_connections) <= 8
            assert threading.active_count() <= threads
            answers = await asyncio.gather(*asked)
            assert [one.text for one in answers] == [f"<n {number}>" for number in range(300)]

    asyncio.run(main())
    wait_until(lambda: not subscribers(shared_redis), "Redis knows that nobody listens")
