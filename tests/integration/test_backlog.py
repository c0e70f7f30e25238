"""What waits in Redis is bounded in jobs and in bytes, wherever it waits."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel, queues
from local_llm_service.tasks import admission, submit
from local_llm_service.worker.celery_ext import message, queue_full
from local_llm_service.worker.errors import QueueFull
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import presence
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import UNHELD, Claim, Settled
from local_llm_service.worker.store.states import CacheBounds, Lifetimes, NewJob
from local_llm_service.worker.store.store import Store, process_store
from tests.conftest import wait_until
from tests.doubles.every_script import MODEL, QUEUE, Site, ending
from tests.integration.conftest import StartWorker

KEYS = Keys()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Settings of this producer that a test may change."""
    changes: dict[str, int] = {}

    def settings() -> Settings:
        return Settings(**changes)  # type: ignore[arg-type]

    for module in (admission, submit, message, queue_full):
        monkeypatch.setattr(module, "lazy_settings", settings)
    return changes


@pytest.fixture
def site(redis_client: redis.Redis) -> Site:
    """What callers and a worker do, on a store of this Redis."""
    there = Site(redis_client, KEYS.prefix)  # type: ignore[arg-type]
    table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
    presence.publish(there.store, "w", "{}", table)
    return there


def ask(prompt: str) -> None:
    """Send a job to the queue of the tests."""
    tasks.generate.apply_async((prompt,), queue=QUEUE)


def backlog(queue: str = QUEUE) -> tuple[int, int]:
    """Jobs and bytes, as `queues` shows them."""
    found = next(one for one in queues() if one["name"] == queue)
    return found["unfinished"], found["bytes"]


# --- jobs -----------------------------------------------------------------------------------


def full_at(limits: dict[str, int], most: int) -> None:
    """Check that the queue has room for `most` jobs and for no more."""
    limits["max_queue_length"] = most
    with pytest.raises(QueueFull, match=rf"{QUEUE} holds {most} jobs \(MAX_QUEUE_LENGTH={most}\)"):
        ask("one too many")
    limits["max_queue_length"] = 10_000


def test_jobs_that_start_later_count(limits: dict[str, int], redis_client: redis.Redis) -> None:
    """Countdowns and retries wait among the deferred."""
    for _ in range(3):
        tasks.generate.apply_async(("later",), countdown=600, queue=QUEUE)
    full_at(limits, 3)
    assert redis_client.llen(KEYS.queue(QUEUE)) == 0


def test_followers_and_running_jobs_count(limits: dict[str, int], site: Site) -> None:
    """Forty thousand joined jobs were let in at a limit of ten thousand."""
    for number in range(4):
        site.ask("same")
        site.start("same", Claim.JOINED if number else Claim.LEAD)
    assert site.store.client.hlen(f"{KEYS.followers}same") == 3
    full_at(limits, 4)


def test_quarantined_and_retried_jobs_count(limits: dict[str, int], site: Site) -> None:
    """A job stays in the backlog wherever it is put back to."""
    for _ in range(2):
        site.ask()
    site.take()
    assert len(site.jobs.reap(lease_seconds=-1, max_crashes=9)) == 1
    held = [site.take(), site.take()]
    assert sorted(one.crashes for one in held) == [0, 1]
    for one in held:
        assert site.jobs.release(one.task_id, one.token, delay_seconds=60, attempts=1)
    full_at(limits, 2)


def test_each_way_to_end_leaves_the_backlog(site: Site) -> None:
    """An answer, a failure, a cancel, a call that is taken back, and the answer of another job."""
    for _ in range(3):
        site.ask("same")
    leader = site.start("same", Claim.LEAD)
    site.start("same", Claim.JOINED)
    site.ask()
    cancelled, forgotten = site.ask(delay=600), site.ask()
    assert backlog()[0] == 6
    site.jobs.forget(forgotten, forgotten)
    assert cancel(cancelled) == "cancelled"
    assert backlog()[0] == 4
    assert site.jobs.settle(leader.task_id, leader.token, ending())[0] is Settled.STORED
    assert backlog()[0] == 1
    rest = [site.take()]
    assert site.fail(rest[0].task_id, rest[0].token) is Settled.STORED
    assert backlog() == (0, 0)
    assert not site.store.client.exists(KEYS.backlog, KEYS.backlog_jobs)


def test_a_replayed_letter_counts_again(site: Site) -> None:
    """It has no result any more."""
    site.ask()
    delivery = site.take()
    site.fail(delivery.task_id, delivery.token)
    assert backlog() == (0, 0)
    assert site.jobs.replay(delivery.task_id, deadline_seconds=60, default_queue=QUEUE)
    jobs, size = backlog()
    assert jobs == 1
    assert size > len(delivery.message)


def test_a_repeated_call_counts_once(site: Site) -> None:
    """A reply can be lost, and redis-py calls again."""
    task_id = uuid4().hex
    new = NewJob(task_id, "generate", QUEUE, 60, 0, canvas=False, has_new_id=True)
    for _ in range(2):
        site.jobs.submit(new)
    for _ in range(2):
        site.jobs.put(QUEUE, "{}", task_id, 0)
    assert backlog()[0] == 1
    for _ in range(2):
        site.jobs.settle(task_id, UNHELD, ending())
    assert backlog() == (0, 0)


def test_jobs_of_an_older_version_count_while_they_are_queued(
    limits: dict[str, int], redis_client: redis.Redis, site: Site
) -> None:
    """They are in no backlog, but in the list."""
    for _ in range(2):
        site.ask()
    redis_client.delete(KEYS.backlog, KEYS.backlog_jobs)
    full_at(limits, 2)
    delivery = site.take()
    site.jobs.settle(delivery.task_id, delivery.token, ending())
    assert backlog() == (0, 0)


def test_jobs_that_an_older_worker_ended_do_not_fill_a_queue_for_ever(
    site: Site, redis_client: redis.Redis, start_worker: StartWorker
) -> None:
    """While versions mix, some jobs end without leaving the backlog; a new worker mends that."""
    for number in range(120):
        task_id = site.ask(delay=600)
        if number < 60:
            redis_client.hset(KEYS.job(task_id), "settled", "1")
        elif number < 110:
            redis_client.delete(KEYS.job(task_id))
    assert backlog()[0] == 120
    redis_client.delete(KEYS.worker("w"))  # its presence is none
    start_worker()
    wait_until(lambda: backlog()[0] == 10, "those who wait are counted, and nobody else")
    size = sum(int(str(e).split()[1]) for e in redis_client.hvals(KEYS.backlog_jobs))
    assert backlog()[1] == size


# --- bytes ----------------------------------------------------------------------------------


def test_a_queue_is_bounded_in_bytes(limits: dict[str, int], redis_client: redis.Redis) -> None:
    """Few large jobs are as bad as many small ones; the error has both numbers and both limits."""
    limits["max_queue_bytes"] = 1_000_000
    ask("😀" * 100_000)
    ask("😀" * 100_000)
    with pytest.raises(QueueFull) as full:
        ask("😀" * 100_000)
    for part in ("holds 3 jobs", "MAX_QUEUE_LENGTH=10000", "bytes", "MAX_QUEUE_BYTES=1000000"):
        assert part in str(full.value)
    assert backlog()[0] == redis_client.llen(KEYS.queue(QUEUE)) == 2, "nothing is left of it"
    assert len(list(redis_client.scan_iter(f"{KEYS.job_record}*"))) == 2
    memory = redis_client.memory_usage(KEYS.queue(QUEUE), samples=0)
    assert 0.8 * int(str(memory)) < backlog()[1] < 1_000_000
    ask("a small one is taken")


def test_a_queue_at_its_bytes_refuses_before_it_reads_the_call(
    limits: dict[str, int], redis_client: redis.Redis
) -> None:
    """Like one at its number of jobs."""
    ask("x")
    limits["max_queue_bytes"] = 1
    with pytest.raises(QueueFull, match="MAX_QUEUE_BYTES=1"):
        ask("y")
    limits["max_queue_bytes"] = 0
    ask("z")


def test_a_next_step_is_not_refused(
    start_worker: StartWorker, redis_client: redis.Redis, limits: dict[str, int]
) -> None:
    """The answer of the step before exists and must not be lost."""
    from celery import chain

    limits["max_queue_bytes"] = 10_000_000
    start_worker(MAX_QUEUE_BYTES="1", MAX_QUEUE_LENGTH="1")
    sent = chain(tasks.generate.s("a"), tasks.generate.si("b")).apply_async()
    assert sent.get(timeout=20)["text"] == "Hello."
    wait_until(lambda: backlog() == (0, 0), "nothing is left in the backlog")


def test_an_overhead_is_counted_for_each_job(site: Site, redis_client: redis.Redis) -> None:
    """A queue of tiny jobs takes what its keys take."""
    before = int(redis_client.info("memory")["used_memory"])
    for number in range(2000):
        site.ask(f"print-{number}")
    took = (int(redis_client.info("memory")["used_memory"]) - before) / 2000
    jobs, size = backlog()
    assert jobs == 2000
    assert 0.7 < size / jobs / took < 1.5, (size / jobs, took)


# --- dead letters, unreadable messages -------------------------------------------------------


def letters(store: Store) -> list[str]:
    """The ids of all dead letters, the newest first."""
    return [letter.task_id for letter in store.dead_letters.all()]


def test_dead_letters_are_bounded_in_bytes(redis_client: redis.Redis) -> None:
    """The oldest go first; the count is right after drops, replays, and when it has expired."""
    site = Site(redis_client, KEYS.prefix)  # type: ignore[arg-type]
    store = Store(redis_client, Lifetimes(60, 60, 60), CacheBounds(60, 0, 0), KEYS.prefix, 700)
    dead: list[str] = []

    def die() -> None:
        task_id = site.ask()
        delivery = site.take()
        failed = ending(error="model_failed")  # its message has about 200 bytes
        store.jobs.settle(task_id, delivery.token, failed)
        dead.insert(0, task_id)
        wait_until(lambda: redis_client.time()[1], "the clock goes on")

    def counted() -> int:
        return sum(len(text) for text in redis_client.hvals(KEYS.dead_letter_messages))

    for _ in range(8):
        die()
    kept = letters(store)
    assert set(kept) <= set(dead[: len(kept) + 2])
    assert 0 < counted() <= 700
    assert int(str(redis_client.get(KEYS.dead_letter_bytes))) == counted()
    assert store.dead_letters.drop(kept[0])
    assert store.jobs.replay(kept[1], deadline_seconds=60, default_queue=QUEUE)
    assert int(str(redis_client.get(KEYS.dead_letter_bytes))) == counted()
    redis_client.delete(KEYS.dead_letter_bytes)
    site.take()
    die()
    assert int(str(redis_client.get(KEYS.dead_letter_bytes))) == counted() <= 700


def test_unreadable_messages_are_cut(redis_client: redis.Redis, start_worker: StartWorker) -> None:
    """A hundred of them are kept, to be looked at: not a hundred times any size."""
    redis_client.lpush(KEYS.queue(QUEUE), "x" * 1_000_000)
    redis_client.lpush(QUEUE, json.dumps({"junk": "x" * 1_000_000}))
    start_worker()
    wait_until(lambda: redis_client.llen(KEYS.unreadable) == 2, "both are set aside")
    sizes: list[Any] = [len(text) for text in redis_client.lrange(KEYS.unreadable, 0, -1)]
    assert sizes == [65_536, 65_536]
    assert process_store().jobs.backlogs([QUEUE])[QUEUE].jobs == 0
