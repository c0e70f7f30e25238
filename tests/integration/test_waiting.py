"""A caller's wait: its own timeout and its own result, whatever happens to others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery.exceptions
import pytest
import redis
from celery import group

from local_llm_service import tasks
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import InternalError
from local_llm_service.worker.listening import link
from local_llm_service.worker.listening.thread_listener import ThreadListener, process_listener
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()


def store(task_id: str, text: str) -> None:
    """Store an answer as a worker does."""
    answer = {"task_id": task_id, "origin": "computed", "timings": {}, "text": text}
    app.backend._store_result(task_id, answer, "SUCCESS")


def all_listen(client: redis.Redis, ids: list[str]) -> bool:
    """Whether somebody listens for each of these results."""
    return all(count for _, count in client.pubsub_numsub(*(KEYS.announced(one) for one in ids)))


def test_fifty_threads_get_their_own_answers_over_one_connection(
    redis_client: redis.Redis,
) -> None:
    """Whatever the order in which the results come."""
    ids = [f"job {number}" for number in range(50)]
    with ThreadPoolExecutor(50) as threads:
        waits = [threads.submit(app.AsyncResult(one).get, timeout=60) for one in ids]
        wait_until(lambda: all_listen(redis_client, ids), "all listen")
        listeners = [one for one in redis_client.client_list() if one["sub"] != "0"]
        assert len(listeners) == 1
        for one in reversed(ids):
            store(one, f"for {one}")
        assert [wait.result()["text"] for wait in waits] == [f"for {one}" for one in ids]
    wait_until(lambda: not redis_client.pubsub_channels(), "nobody listens any more")


def test_a_result_that_cannot_be_read_harms_no_other_wait(redis_client: redis.Redis) -> None:
    """It is read by the caller that asked for it, and by nobody else."""
    ids = ["bad", "good"]
    with ThreadPoolExecutor(2) as threads:
        bad, good = (threads.submit(app.AsyncResult(one).get, timeout=60) for one in ids)
        wait_until(lambda: all_listen(redis_client, ids), "both listen")
        redis_client.set(KEYS.result("bad"), "{this is not JSON", ex=60)
        redis_client.publish(KEYS.announced("bad"), "")
        with pytest.raises(InternalError, match="cannot be read"):
            bad.result()
        store("good", "fine")
        assert good.result()["text"] == "fine"


def test_a_result_whose_ring_was_lost_is_found(redis_client: redis.Redis) -> None:
    """A ring is a hint only: results are also read every few seconds."""
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(app.AsyncResult("quiet").get, timeout=60)
        wait_until(lambda: all_listen(redis_client, ["quiet"]), "it listens")
        store("loud", "fine")
        redis_client.copy(KEYS.result("loud"), KEYS.result("quiet"))
        assert wait.result()["text"] == "fine"


@pytest.mark.parametrize("timeout", [0, 0.01, 60, None])
def test_a_result_that_is_there_is_found_with_any_timeout(
    redis_client: redis.Redis, timeout: float | None
) -> None:
    """Also by a wait that has no time to look."""
    store("there", "fine")
    assert app.AsyncResult("there").get(timeout=timeout)["text"] == "fine"


def test_a_wait_that_is_too_short_is_celerys_timeout(redis_client: redis.Redis) -> None:
    """As with any Celery app."""
    with pytest.raises(celery.exceptions.TimeoutError):
        app.AsyncResult("nothing").get(timeout=0.2)
    results = app.GroupResult("g", [app.AsyncResult("nothing"), app.AsyncResult("none")])
    with pytest.raises(celery.exceptions.TimeoutError):
        results.get(timeout=0.2)


def test_groups_come_in_order_with_groups_in_them(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """`get` and `join` of a group, also where a member is a group itself."""

    def respond(body: dict[str, Any]) -> Script:
        return Script(chunks=(f"<{body['messages'][-1]['content']}>",))

    ollama.respond = respond
    start_worker(CONCURRENCY="4")
    sent = group(tasks.generate.s(word) for word in "abcd").apply_async()
    assert [one["text"] for one in sent.get(timeout=60)] == ["<a>", "<b>", "<c>", "<d>"]
    assert [one["text"] for one in sent.join(timeout=60)] == ["<a>", "<b>", "<c>", "<d>"]
    inner = app.GroupResult("inner", [tasks.generate.delay("x"), tasks.generate.delay("y")])
    outer = app.GroupResult("outer", [tasks.generate.delay("z"), inner])
    z, both = outer.get(timeout=60)
    assert [z["text"], *(one["text"] for one in both)] == ["<z>", "<x>", "<y>"]
    assert outer.successful()


def test_callbacks_of_a_wait_are_called(redis_client: redis.Redis) -> None:
    """Celery's `callback`, `on_message` and `then`."""
    store("there", "fine")
    heard: list[object] = []
    result = app.AsyncResult("there")
    result.then(lambda one: heard.append(one.id))
    result.get(
        timeout=1,
        callback=lambda task_id, _: heard.append(task_id),
        on_message=lambda meta: heard.append(meta["status"]),
    )
    assert sorted(map(str, heard)) == ["SUCCESS", "there", "there"]


def test_a_cache_hit_needs_no_listener(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """Its answer is in the handle: no thread, no connection, no round trip."""
    start_worker()
    tasks.generate.delay("hi").get(timeout=30)
    code = """
import threading
from local_llm_service import tasks
assert tasks.generate.delay("hi").get(timeout=30)["origin"] == "cached"
print([thread.name for thread in threading.enumerate()])
"""
    assert run_python("-c", code).stdout.strip() == "['MainThread']"


def test_a_listener_that_nobody_needs_ends_and_begins_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no connection for good."""
    monkeypatch.setattr(link, "IDLE_SECONDS", 0.0)
    listener = ThreadListener(process_listener().url, KEYS)
    for number in range(2):
        with listener.wait([f"job {number}"]):
            thread = listener._thread
            assert isinstance(thread, threading.Thread)
            wait_until(lambda n=number: all_listen(redis_client, [f"job {n}"]), "it listens")  # type: ignore[misc]
        wait_until(lambda: listener._thread is None, "it ends")
        thread.join(10)
        assert not thread.is_alive()
