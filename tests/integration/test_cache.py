"""A repeated question is answered from the cache, at the call or by a worker.

Where no second process plays a part, the worker runs in this one, on a real Redis (`local_llm`).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from celery import Celery, group

from local_llm_service import tasks
from local_llm_service.producers import cancel, health, status
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.app import app
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()

pytestmark = pytest.mark.local_llm(redis="embedded")


def answer(prompt: str = "question", **options: Any) -> dict[str, Any]:
    """Ask and wait for the answer."""
    given: dict[str, Any] = tasks.generate.delay(prompt, **options).get(timeout=20)
    return given


def here() -> redis.Redis:
    """A client of the Redis of `local_llm`."""
    return process_store().client


def keys_here(pattern: str) -> list[str]:
    """The keys in it that match."""
    return [str(key) for key in here().scan_iter(match=pattern)]


def test_a_repeated_call_holds_its_answer_and_no_worker_hears_of_it(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The text is the same, task id and origin differ; the result is kept for HIT_RESULT_TTL."""
    start_worker()
    first = answer()
    fence = redis_client.get(KEYS.fence)
    again = tasks.generate.delay("question")
    assert again._cache is not None, "the handle has the answer without asking Redis"
    second = again.get(timeout=0)
    assert (first["origin"], second["origin"]) == ("computed", "cached")
    assert second["task_id"] == again.id != first["task_id"]
    own = {"task_id", "origin", "timings"}
    assert {k: v for k, v in first.items() if k not in own} == {
        k: v for k, v in second.items() if k not in own
    }
    assert app.AsyncResult(again.id).get(timeout=5) == second
    assert 590 < redis_client.ttl(KEYS.result(again.id)) <= 600
    assert status(again.id) is cancel(again.id) is JobState.SUCCEEDED
    assert len(ollama.seen) == 1
    assert redis_client.get(KEYS.fence) == fence, "no worker took a job"


def test_a_hit_is_answered_while_the_queue_is_full_and_the_model_is_away(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """A hit needs neither a slot nor a place in the queue."""
    start_worker()
    answer()
    ollama.stop()
    try:
        wait_until(lambda: health()["status"] == "down", "the worker says that Ollama is away")
        for number in range(3):
            tasks.generate.delay(f"slow {number}")
        code = "import tasks; print(tasks.generate.delay('question').get(timeout=0)['origin'])"
        done = run_python("-c", code, MAX_QUEUE_LENGTH="3")
        assert done.stdout == "cached\n", done.stderr
    finally:
        ollama.start()


@pytest.mark.local_llm(redis="embedded", slots=4)
def test_without_cache_nothing_is_read_written_or_joined(local_llm: LocalLLM) -> None:
    """Per call."""
    with local_llm.held():
        alone = [tasks.generate.delay("question", cache=False) for _ in range(3)]
        local_llm.wait_until_asked(3)
    assert [result.get(timeout=20)["origin"] for result in alone] == ["computed"] * 3
    assert keys_here(f"{KEYS.cache}*") == []
    assert answer()["origin"] == "computed"
    assert answer(cache=False)["origin"] == "computed"
    assert len(local_llm.prompts) == 5


def test_with_the_cache_switched_off_every_call_runs(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """ENABLE_CACHE=false at the worker acts as cache=False for every call."""
    start_worker(ENABLE_CACHE="false")
    assert [answer()["origin"], answer()["origin"]] == ["computed", "computed"]
    assert redis_client.keys(f"{KEYS.cache}*") == []


def test_a_producer_without_cache_asks_again(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """ENABLE_CACHE=false at the caller holds in the worker too."""
    start_worker()
    answer()
    code = "import tasks; print(tasks.generate.delay('question').get(timeout=20)['origin'])"
    assert run_python("-c", code, ENABLE_CACHE="false").stdout == "computed\n"


def test_a_group_is_answered_from_the_cache(local_llm: LocalLLM) -> None:
    """Each member holds its answer, and Celery collects the answers as usual."""
    answer()
    parts = group([tasks.generate.s("question"), tasks.generate.s("question")]).apply_async()
    assert [part["origin"] for part in parts.get(timeout=5)] == ["cached", "cached"]
    assert len(local_llm.prompts) == 1


def test_a_model_that_was_pulled_again_does_not_answer_from_old_entries(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The model's digest is part of the fingerprint; workers publish a new one within 3 s."""
    start_worker()
    answer()
    consensus = redis_client.hget(KEYS.consensus, keys.DEFAULT_MODEL)
    ollama.digest = "cd" * 32
    wait_until(
        lambda: redis_client.hget(KEYS.consensus, keys.DEFAULT_MODEL) != consensus,
        "it is published",
    )
    assert answer()["origin"] == "computed"
    assert answer()["origin"] == "cached"


def test_callers_look_only_where_all_workers_agree(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """When two hosts have different models under one name, no caller knows which would answer."""
    start_worker()
    answer()
    assert answer()["origin"] == "cached"
    with FakeOllama(digest="cd" * 32) as other:
        second = start_worker(OLLAMA_HOST=other.host)
        assert redis_client.hget(KEYS.consensus, keys.DEFAULT_MODEL) is None
        again = [tasks.generate.delay("question") for _ in range(2)]
        assert [result._cache for result in again] == [None, None]
        for result in again:
            result.get(timeout=20)
        second.stop()
    wait_until(
        lambda: redis_client.hget(KEYS.consensus, "fake:1b"),
        "the remaining worker is the consensus",
    )


def test_generate_at_its_own_limit_is_a_whole_answer(local_llm: LocalLLM) -> None:
    """The caller asked for exactly that many tokens, so the answer is cached."""
    local_llm.reply("one two three")
    assert answer(max_tokens=2)["finish_reason"] == "length"
    assert answer(max_tokens=2)["origin"] == "cached"


@pytest.mark.local_llm(
    redis="embedded", settings={"cache_max_entry_bytes": 3000, "cache_max_bytes": 5000}
)
def test_a_large_answer_is_not_cached_and_the_oldest_make_room(local_llm: LocalLLM) -> None:
    """CACHE_MAX_ENTRY_BYTES and CACHE_MAX_BYTES hold; the counted bytes equal the stored bytes."""
    local_llm.reply(lambda messages: "x" * int(messages[-1]["content"].split()[1]), times=None)
    answer("large 4000")
    assert keys_here(f"{KEYS.cache}*") == []
    for name in "abcd":
        answer(f"{name} 1200")
    assert answer("d 1200")["origin"] == "cached"
    assert len(keys_here(f"{KEYS.cache}*")) == 2
    assert answer("a 1200")["origin"] == "computed"
    members: Any = here().zrange(KEYS.cache_index, 0, -1)
    counted = int(str(here().get(KEYS.cache_bytes)))
    assert sum(int(member.split(":")[1]) for member in members) == counted <= 5000


@pytest.mark.local_llm(redis="embedded", settings={"cache_ttl": 1})
def test_an_entry_lives_for_cache_ttl(local_llm: LocalLLM) -> None:
    """After that the model is asked again, and the counted bytes are right again."""
    answer()
    wait_until(lambda: not keys_here(f"{KEYS.cache}*"), "it expires")
    assert answer()["origin"] == "computed"
    found: Any = here().zrange(KEYS.cache_index, 0, -1)
    [member] = found
    assert here().get(KEYS.cache_bytes) == member.split(":")[1]


def test_a_job_that_was_sent_by_name_is_answered_by_a_worker_from_the_cache(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The sender's process knows nothing of fingerprints."""
    start_worker()
    answer()
    other = Celery("other", broker=redis_client_url(redis_client), set_as_current=False)
    sent = other.send_task("llm.generate", kwargs={"prompt": "question"}, queue="llm.high")
    result = app.AsyncResult(sent.id).get(timeout=20)
    assert (result["origin"], result["task_id"]) == ("cached", sent.id)
    assert len(ollama.seen) == 1


def redis_client_url(client: redis.Redis) -> str:
    """The address of a client's Redis."""
    kwargs = client.connection_pool.connection_kwargs
    return f"redis://{kwargs['host']}:{kwargs['port']}/0"


def test_a_call_with_callbacks_goes_through_a_worker(local_llm: LocalLLM) -> None:
    """The worker lets Celery call the callbacks; the model is not asked again."""
    text = answer()["text"]
    chain = tasks.generate.s("question") | tasks.generate.s(max_tokens=50)
    last = chain.apply_async()
    assert last.get(timeout=20)["usage"]["completion_tokens"] > 0
    assert last.parent.get(timeout=5)["origin"] == "cached"
    assert [asked.text for asked in local_llm.prompts] == ["question", text]


def test_a_hit_counts_and_an_existing_id_keeps_its_job(local_llm: LocalLLM) -> None:
    """Submitting a task id again returns the existing job, whatever the new question is."""
    first = tasks.generate.apply_async(("other",), task_id="mine").get(timeout=20)
    answer()
    again = tasks.generate.apply_async(("question",), task_id="mine")
    assert again.get(timeout=5) == first
    hit = tasks.generate.apply_async(("question",), task_id="hit")
    assert tasks.generate.apply_async(("new",), task_id="hit").get(timeout=5) == hit.get(timeout=5)
    assert len(local_llm.prompts) == 2


def test_entries_hold_no_prompt(local_llm: LocalLLM) -> None:
    """An entry holds only the answer, under a name that reveals nothing."""
    local_llm.reply("Hello.")
    answer("something private")
    [key] = keys_here(f"{KEYS.cache}*")
    entry = str(here().get(key))
    assert "private" not in key + entry
    members = json.loads("{" + entry.split(" ", 6)[6] + "}")
    assert members["text"] == "Hello."
    assert not {"task_id", "origin", "timings"} & members.keys()


def test_the_last_step_of_a_chain_is_kept_as_long_as_any_answer(local_llm: LocalLLM) -> None:
    """A worker makes that call; its waiter may read the result later than HIT_RESULT_TTL."""
    text = answer()["text"]
    tasks.summarize.delay(text).get(timeout=20)
    last = (tasks.generate.s("question") | tasks.summarize.s()).apply_async()
    assert last.get(timeout=20)["origin"] == "cached"
    assert int(str(here().ttl(KEYS.result(last.id)))) > 80_000


def test_an_id_reused_after_a_call_that_died_answers_the_new_question(local_llm: LocalLLM) -> None:
    """The fingerprint of the earlier question does not count."""
    local_llm.reply(lambda messages: messages[-1]["content"])
    here().hset(KEYS.job("x"), mapping={"nonce": "old", "fingerprint": "f" * 64, "canvas": "1"})
    here().expire(KEYS.job("x"), 60)
    again = tasks.generate.apply_async(("asked now",), task_id="x")
    assert again.get(timeout=20)["text"] == "asked now"
    record: Any = here().hgetall(KEYS.job("x"))
    assert record["fingerprint"] != "f" * 64
    assert "canvas" not in record
