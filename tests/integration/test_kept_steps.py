"""Steps in Redis: kept for a time and within bounds, found again, and gone with a job alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service.worker.store import presence
from local_llm_service.worker.store.bounds import STEP_SECONDS, YIELDS_MOST
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import Claim, Delivery, Settled
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.states import CacheBounds, Lifetimes, NewJob
from local_llm_service.worker.store.steps import Onward, StepNote, own_name
from local_llm_service.worker.store.store import Store
from tests.doubles.every_script import MODEL, QUEUE, Site, ending, message

KEYS = Keys()
HIGH = "llm.high"


@pytest.fixture
def site(redis_client: redis.Redis) -> Site:
    """A caller and a worker on an empty Redis."""
    site = Site(redis_client, KEYS.prefix)
    table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
    presence.publish(site.store, "w", "{}", table)
    return site


def note(held: Delivery, **more: Any) -> StepNote:
    """What a worker that serves MODEL says of a job that it holds."""
    return StepNote(held.task_id, held.token, worker="w", models=[MODEL, "*"], **more)


def ask(site: Site, queue: str = HIGH, model: str = "*") -> str:
    """Queue a job for a model."""
    task_id = uuid4().hex
    new = NewJob(task_id, "generate", queue, 60, 0, False, has_new_id=True, model=model)
    site.jobs.submit(new)
    site.jobs.put(queue, message(task_id, llm_submitted=True), task_id, 0)
    return task_id


# --- keeping ----------------------------------------------------------------------------------


def test_a_step_is_kept_once_for_a_day_and_told_in_the_record(
    site: Site, redis_client: redis.Redis
) -> None:
    """A call whose reply was lost changes nothing; progress and count are there for all to see."""
    task_id = site.ask()
    told = note(site.take(), name="a", entry="A", kept=1, progress=Progress(1, 12, "reading"))
    for _ in range(2):
        assert site.store.steps.note_step(told) == (Onward.GO, "")
    assert site.store.steps.note_step(replace(told, name="", next_name="a")) == (Onward.GO, "A")
    assert STEP_SECONDS - 5 < redis_client.ttl(f"{KEYS.step}a") <= STEP_SECONDS
    assert int(redis_client.get(KEYS.step_bytes)) == 401
    record = site.jobs.record(task_id)
    assert record is not None
    assert (record.done, record.total, record.phase) == (1, 12, "reading")
    assert (record.kept_steps, record.yields) == (1, 0)


@pytest.mark.parametrize(("entry_bytes", "total_bytes"), [(400, 10_000), (10_000, 400), (0, 0)])
def test_what_is_too_large_is_not_kept(
    site: Site, redis_client: redis.Redis, entry_bytes: int, total_bytes: int
) -> None:
    """As CACHE_MAX_ENTRY_BYTES and CACHE_MAX_BYTES say; the job goes on."""
    site.ask()
    bounds = CacheBounds(60, entry_bytes, total_bytes)
    steps = Store(redis_client, Lifetimes(60, 60, 60), bounds).steps
    held = site.take()
    assert steps.note_step(note(held, name="a", entry="A", kept=1))[0] is Onward.GO
    assert not redis_client.exists(f"{KEYS.step}a")


def test_the_oldest_steps_make_room_and_answers_stay(site: Site, redis_client: redis.Redis) -> None:
    """The bytes that are counted are those of what is there."""
    redis_client.set(f"{KEYS.cache}x", "1 1 answer", ex=60)
    site.ask()
    held = site.take()
    steps = Store(redis_client, Lifetimes(60, 60, 60), CacheBounds(60, 9000, 2500)).steps
    for number in range(12):
        steps.note_step(note(held, name=f"n{number:02}", entry="x" * 100, kept=number))
    kept = redis_client.zrange(KEYS.step_index, 0, -1)
    assert kept == [f"n{number:02}:500" for number in range(7, 12)]
    assert int(redis_client.get(KEYS.step_bytes)) == 2500
    assert redis_client.exists(f"{KEYS.cache}x")


def test_own_steps_go_with_the_result_and_shared_ones_stay(
    site: Site, redis_client: redis.Redis
) -> None:
    """Also where some of them have gone before."""
    task_id = site.ask()
    held = site.take()
    first, gone = own_name(task_id, "a", 1), own_name(task_id, "a", 2)
    for number, name in enumerate([first, "shared", gone], 1):
        told = note(held, name=name, entry="A", own=name != "shared", kept=number)
        assert site.store.steps.note_step(told)[0] is Onward.GO
    assert redis_client.exists(f"{KEYS.step}{first}")
    redis_client.delete(f"{KEYS.step}{gone}")
    assert site.jobs.settle(task_id, held.token, ending())[0] is Settled.STORED
    left = [key for key in redis_client.scan_iter("*step*") if key != KEYS.step_index]
    assert sorted(left) == sorted([f"{KEYS.step}shared", KEYS.step_bytes])
    assert redis_client.zrange(KEYS.step_index, 0, -1) == ["shared:401"]


def test_the_first_rates_of_a_work_stay(site: Site, redis_client: redis.Redis) -> None:
    """Whoever goes on with it sizes its prompts as the first run did; without keeping a word."""
    site.ask()
    held = site.take()
    for rates in ("first", "second"):
        site.store.steps.note_step(note(held, place="print", rates=rates))
    assert site.store.steps.fixed_rates("print") == "first"
    assert site.store.steps.fixed_rates("another") == ""
    assert 0 < redis_client.ttl(f"{KEYS.fixed_rates}print") <= STEP_SECONDS


# --- who finds them ---------------------------------------------------------------------------


def test_the_next_run_is_told_and_so_are_all_who_wait_for_the_same(site: Site) -> None:
    """Whoever of the group runs next, after a release and after a crash."""
    ids = [site.ask("same") for _ in range(3)]
    leader = site.start("same", Claim.LEAD)
    site.start("same", Claim.JOINED)
    assert leader.kept_steps == 0
    site.store.steps.note_step(note(leader, name="a", entry="A", kept=1))
    assert site.jobs.release(leader.task_id, leader.token)
    again = [site.take() for _ in range(3)]
    assert {one.task_id: one.kept_steps for one in again} == dict.fromkeys(ids, 1)
    claimed = site.single_flight.claim(again[0].task_id, again[0].token, "same", canvas=False)
    assert claimed.claim is Claim.LEAD
    site.store.steps.note_step(note(again[0], name="b", entry="B", kept=2))
    assert len(site.jobs.reap(lease_seconds=-1, max_crashes=5)) == 3
    records = [site.jobs.record(one) for one in ids]
    assert [one and one.kept_steps for one in records] == [2, 2, 2]


def test_a_worker_that_lost_the_job_keeps_and_tells_nothing(
    site: Site, redis_client: redis.Redis
) -> None:
    """Another runs it by now."""
    task_id = site.ask()
    held = site.take()
    assert site.jobs.release(task_id, held.token)
    told = note(held, name="a", entry="A", kept=1, next_name="a", progress=Progress(1, 2, "x"))
    assert site.store.steps.note_step(told) == (Onward.LOST, "")
    record = site.jobs.record(task_id)
    assert record is not None
    assert (record.done, record.kept_steps) == (0, 0)
    assert not redis_client.exists(f"{KEYS.step}a")


# --- making room ------------------------------------------------------------------------------


def test_a_job_makes_room_for_a_more_urgent_one_and_comes_next(site: Site) -> None:
    """Its message is at the head of its queue, its state is queued, and no try is used."""
    task_id = site.ask()
    held, behind = site.take(), site.ask()
    told = note(held, queues=[HIGH])
    assert site.store.steps.note_step(told)[0] is Onward.GO
    urgent = ask(site)
    assert site.store.steps.note_step(replace(told, queues=[]))[0] is Onward.GO
    assert site.store.steps.note_step(told)[0] is Onward.YIELD
    assert site.jobs.release(task_id, held.token, yields=True)
    assert not site.jobs.release(task_id, held.token, yields=True), "a reply was lost"
    record = site.jobs.record(task_id)
    assert record is not None
    assert (record.state, record.attempts, record.yields) == ("queued", 0, 1)

    def take() -> str:
        found = site.jobs.take(
            [HIGH, QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex
        )
        assert found is not None
        return found.task_id

    assert [take() for _ in range(3)] == [urgent, task_id, behind]


def test_a_job_makes_room_twice_at_most(site: Site) -> None:
    """Then it runs to its end, whatever waits."""
    ask(site)
    site.ask()
    for _ in range(YIELDS_MOST):
        held = site.take()
        assert site.store.steps.note_step(note(held, queues=[HIGH]))[0] is Onward.YIELD
        assert site.jobs.release(held.task_id, held.token, yields=True)
    assert site.store.steps.note_step(note(site.take(), queues=[HIGH]))[0] is Onward.GO


def test_a_cancelled_job_ends(site: Site, redis_client: redis.Redis) -> None:
    """Before its worker has heard of it; nothing more is kept."""
    task_id = site.ask()
    held = site.take()
    site.jobs.cancel(task_id)
    told = note(held, name="a", entry="A", kept=1)
    assert site.store.steps.note_step(told) == (Onward.CANCELLED, "")
    assert not redis_client.exists(f"{KEYS.step}a")


def test_no_room_is_made_for_what_the_worker_would_not_take(site: Site) -> None:
    """Another model's job, a suspect, one that has ended; but for what is parked for its model."""
    site.ask()
    held = site.take()
    told = note(held, queues=[HIGH])
    ask(site, model="other:1b")
    suspect = ask(site)
    site.store.client.hset(KEYS.job(suspect), "crashes", "1")
    ended = ask(site)
    assert site.fail(ended, "") is Settled.STORED
    site.store.client.rpush(KEYS.queue(HIGH), "no message")
    assert site.store.steps.note_step(told)[0] is Onward.GO
    wanted = ask(site, model=MODEL)
    assert site.store.steps.note_step(told)[0] is Onward.YIELD
    other = {"worker": "x", "models": ["other:1b"], "may_take_quarantined": False}
    while site.jobs.take([HIGH], nonce=uuid4().hex, others_first=True, **other):
        pass
    assert site.jobs.state(wanted) == "parked"
    assert site.store.steps.note_step(told)[0] is Onward.YIELD
