"""Redis forgets: its last second in a crash, its scripts in a SCRIPT FLUSH. Nothing goes wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import redis

from local_llm_service import tasks
from local_llm_service.worker.celery_ext.result_format import result_text
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import NO_WORK, Ending, Settled, SettleFor
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import JobState, Lifetimes
from local_llm_service.worker.store.store import Store


def copy_of_redis() -> Callable[[], None]:
    """A copy of all keys; calling it puts Redis back to it, as a crash does with old data."""
    raw = redis.Redis.from_url(os.environ["REDIS_URL"])
    kept = {key: (raw.dump(key), max(0, raw.pttl(key))) for key in raw.scan_iter()}  # type: ignore[type-var]

    def restore() -> None:
        raw.flushdb()
        for key, (value, lifetime_ms) in kept.items():
            raw.restore(key, lifetime_ms, value)  # type: ignore[arg-type]
        raw.close()

    return restore


def test_no_two_workers_ever_hold_one_token(redis_client: redis.Redis) -> None:
    """A take that Redis has lost gave its worker a token; no later delivery gets the same.

    So the late answer of the first worker is refused while the second one works.
    """
    jobs = Store(redis_client, Lifetimes(60, 60, 60)).jobs
    result = tasks.generate.delay("x")
    lose_last_second = copy_of_redis()

    def take(worker: str) -> Any:
        nonce = uuid4().hex
        return jobs.take(keys.QUEUES, worker=worker, may_take_quarantined=True, nonce=nonce)

    first = take("one")
    lose_last_second()
    second = take("two")
    assert first.task_id == second.task_id == result.id
    assert first.token != second.token

    def settle(token: str, text: str) -> Settled:
        meta = {"status": "SUCCESS", "date_done": "", "task_id": result.id, "result": text}
        ending = Ending(
            JobState.SUCCEEDED, "", SettleFor.EVERYONE, False, result_text(meta), NO_WORK
        )
        return jobs.settle(result.id, token, ending)[0]

    assert settle(first.token, "late") is Settled.LOST
    assert jobs.renew([(result.id, first.tag, first.token)])[0] == [first.token]
    assert settle(second.token, "good") is Settled.STORED


def test_a_storm_of_script_flushes_is_not_noticed(redis_client: redis.Redis) -> None:
    """A flush can come between any two commands; each call of a script is answered all the same."""
    flushing, flushed = threading.Event(), []
    scripts = Scripts(redis_client, Keys())

    def flush() -> None:
        while not flushing.is_set():
            redis_client.script_flush()
            flushed.append(1)

    storm = threading.Thread(target=flush)
    storm.start()
    try:
        for _ in range(2000):
            assert scripts.run("forget", [uuid4().hex]) == 1
    finally:
        flushing.set()
        storm.join()
    assert len(flushed) > 100


def test_a_flush_between_a_refusal_and_the_next_command(redis_client: redis.Redis) -> None:
    """The same, exactly: Redis forgets its scripts before each command of the client."""
    scripts = Scripts(redis_client, Keys())
    plain = redis_client.execute_command

    def after_a_flush(*args: Any, **options: Any) -> Any:
        plain("SCRIPT FLUSH")
        return plain(*args, **options)

    redis_client.execute_command = after_a_flush  # type: ignore[method-assign]
    assert scripts.run("forget", [uuid4().hex]) == 1
