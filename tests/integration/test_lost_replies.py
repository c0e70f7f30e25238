"""Redis executes a command, but its reply is lost: the retry must not lose or repeat a job.

A connection that breaks, or a Redis slower than a socket timeout, at one moment is enough.
"""

from __future__ import annotations

import hashlib
import json

import pytest
import redis

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.presence import publish
from local_llm_service.worker.store.scripts import script_text
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.proxy import Proxy
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()

SEND = """
from local_llm_service import tasks
print(tasks.generate.delay("job").id)
"""


def known(client: redis.Redis, script: str) -> bytes:
    """Load a script, so that its first call already runs it; return its name in a request."""
    text = script_text(script, KEYS.prefix)
    client.script_load(text)
    return hashlib.sha1(text.encode()).hexdigest().encode()


@pytest.mark.parametrize("script", ["submit", "put"])
def test_lost_reply_to_a_producer(
    script: str,
    start_worker: StartWorker,
    ollama: FakeOllama,
    redis_client: redis.Redis,
    redis_process: RedisProcess,
) -> None:
    """Either the caller gets an error, or the job runs once."""
    ollama.respond = lambda _: Script(first_seconds=2)
    with Proxy(redis_process.port) as proxy:
        proxy.cut_reply_to(known(redis_client, script))
        url = f"redis://127.0.0.1:{proxy.port}/0"
        done = run_python("-c", SEND, REDIS_URL=url)
    start_worker(CONCURRENCY="2")
    if done.returncode != 0:
        assert "BrokerUnreachable" in done.stderr
        assert sum(redis_client.llen(KEYS.queue(queue)) for queue in keys.QUEUES) == 0
        return
    task_id = done.stdout.strip()
    wait_until(lambda: redis_client.exists(KEYS.result(task_id)), "the job is answered")
    wait_until(lambda: redis_client.hlen(KEYS.unacked) == 0, "no delivery is left in flight")
    assert len(ollama.seen) == 1


def test_lost_reply_to_a_worker(redis_client: redis.Redis, redis_process: RedisProcess) -> None:
    """A worker that asks again for a job does not abandon the job of the lost reply."""
    for prompt in ("first", "second"):
        run_python("-c", SEND.replace("job", prompt))
    with Proxy(redis_process.port) as proxy:
        store = Store(connect(f"redis://127.0.0.1:{proxy.port}/0"), Lifetimes(60, 60, 60))
        proxy.cut_reply_to(known(redis_client, "take"))
        try:
            delivery = store.jobs.take(
                keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1"
            )
        except redis.ConnectionError:
            delivery = None
        store.client.close()
    in_flight = redis_client.hkeys(KEYS.unacked)
    assert len(in_flight) <= 1, "at most one job waits for the end of its lease"
    assert delivery is None or in_flight == [delivery.tag]


def test_lost_reply_to_a_worker_that_passes_a_job_on(
    redis_client: redis.Redis, redis_process: RedisProcess
) -> None:
    """The job is parked once, and the repeated call knows that it holds nothing any more."""
    done = run_python("-c", SEND)
    task_id = done.stdout.strip()
    store = Store(redis_client, Lifetimes(60, 60, 60))
    serves = json.dumps({"default": "fake:1b", "models": {}, "serves": ["*"], "failing": []})
    publish(store, "other", "{}", serves)
    delivery = store.jobs.take(keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1")
    assert delivery is not None
    with Proxy(redis_process.port) as proxy:
        cut = Store(connect(f"redis://127.0.0.1:{proxy.port}/0"), Lifetimes(60, 60, 60))
        proxy.cut_reply_to(known(redis_client, "pass_on"))
        try:
            passed = cut.jobs.pass_on(task_id, delivery.token, worker="one", model="fake:1b")
            assert passed.done
        except redis.ConnectionError:
            pass
        cut.client.close()
    assert redis_client.hkeys(KEYS.parked_messages) == [task_id]
    assert redis_client.hlen(KEYS.unacked) == 0
    again = store.jobs.pass_on(task_id, delivery.token, worker="one", model="fake:1b")
    assert again.done
    found = store.jobs.take(
        keys.QUEUES, worker="other", may_take_quarantined=True, nonce="1", models=["*"]
    )
    assert found is not None
    assert (found.task_id, found.attempts) == (task_id, 0)


def test_lost_reply_to_a_take_that_parks(
    redis_client: redis.Redis, redis_process: RedisProcess
) -> None:
    """What it parked stays parked, once."""
    ids = sorted(run_python("-c", SEND.replace("job", p)).stdout.strip() for p in "ab")
    with Proxy(redis_process.port) as proxy:
        cut = Store(connect(f"redis://127.0.0.1:{proxy.port}/0"), Lifetimes(60, 60, 60))
        proxy.cut_reply_to(known(redis_client, "take"))
        try:
            found = cut.jobs.take(
                keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1", models=[]
            )
            assert found is None
        except redis.ConnectionError:
            pass
        cut.client.close()
    assert sorted(redis_client.hkeys(KEYS.parked_messages)) == ids
    assert sum(redis_client.llen(KEYS.queue(queue)) for queue in keys.QUEUES) == 0
    assert sum(redis_client.zcard(KEYS.parked_in(queue)) for queue in keys.QUEUES) == 2
