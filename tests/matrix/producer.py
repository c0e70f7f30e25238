"""A producer's doors, run in an environment that holds the client and one minor version of Celery.

`python -m tests.matrix` starts Redis, a scripted Ollama and a worker, and runs this file against
the installed wheel in each environment; `make test` does not collect it. What needs a process of
its own is in processes.py. One Redis serves all
runs: every prompt is new (`fresh`), so that no answer comes from an earlier environment.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from uuid import uuid4

import celery
import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout

from local_llm_service import AsyncClient, Client, tasks
from local_llm_service.producers import cancel, health, job, models, queues, stats, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app

WAIT_SECONDS = 20


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition` is true; fail with `what` after WAIT_SECONDS."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"never happened: {what}")
        time.sleep(0.02)


# --- what is installed ----------------------------------------------------------------------------


def test_the_environment_is_the_one_that_was_asked_for() -> None:
    """Not the checkout, and Celery in the version that gives the set its name."""
    assert "site-packages" in tasks.__path__[0]
    assert version("celery").startswith(os.environ["MATRIX_CELERY"] + ".")


@pytest.mark.parametrize(
    "name", ["ollama", "aiohttp", "httpx", "prometheus_client", "flower", "hiredis", "xllamacpp"]
)
def test_a_producer_needs_nothing_of_the_worker(name: str) -> None:
    """All the tests below pass without it."""
    assert find_spec(name) is None


# --- beside another app ---------------------------------------------------------------------------


def test_a_step_of_another_app_goes_to_its_queue(fresh: Callable[[str], str]) -> None:
    """As that app's routes say, in plain Celery's format; also from a group that ours begins."""
    url = os.environ["REDIS_URL"]
    mine = Celery("mine", broker=url, backend=url, set_as_current=False)
    queue = fresh("queue")
    mine.conf.task_routes = {"my.store": queue}

    @mine.task(name="my.store")
    def store(answer: object) -> object:
        return answer

    first = chain(tasks.generate.s(fresh("step")), store.s()).apply_async().parent
    assert tasks.generate.AsyncResult(first.id).get(timeout=WAIT_SECONDS)["text"]
    group(tasks.generate.s(fresh("group")), store.s("x")).apply_async()
    with mine.connection_for_read() as connection:
        waiting = connection.SimpleQueue(queue)
        messages = [waiting.get(timeout=WAIT_SECONDS) for _ in range(2)]
        waiting.clear()
    assert [one.headers["task"] for one in messages] == ["my.store"] * 2


def test_a_job_that_another_app_sends_by_name(fresh: Callable[[str], str]) -> None:
    """That app's own `.get()` has the answer, and any process has the typed one."""
    url, word = os.environ["REDIS_URL"], fresh("by name")
    mine = Celery("mine", broker=url, backend=url, set_as_current=False)
    sent = mine.send_task("llm.generate", [word], queue="llm.normal")
    assert sent.get(timeout=WAIT_SECONDS)["text"] == f"<{word}>."
    assert job(sent.id).result(WAIT_SECONDS).text == f"<{word}>."


# --- calls ----------------------------------------------------------------------------------------


def test_each_kind_answers(fresh: Callable[[str], str]) -> None:
    """Through the typed client, with its own validation on both ways."""
    client, word = Client(), fresh("kinds")
    function = {"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}
    assert client.generate(word).result(WAIT_SECONDS).text == f"<{word}>."
    assert client.summarize(word, max_summary_tokens=60).result(WAIT_SECONDS).summary
    messages = [{"role": "user", "content": word}]
    assert client.compress(messages).result(WAIT_SECONDS).messages
    found = client.extract_parameters(f"{word} 1", function).result(WAIT_SECONDS)
    assert found.parameters == {"n": 1}
    assert client.structured_output(word, {"type": "object"}).result(WAIT_SECONDS).data == {"n": 1}


def test_an_event_loop_submits_and_waits(fresh: Callable[[str], str]) -> None:
    """With this set's redis.asyncio: answers, failures, not ready, not found."""

    async def main() -> None:
        async with AsyncClient() as client:
            words = [fresh("loop") for _ in range(24)]
            jobs = await asyncio.gather(*(client.generate(word) for word in words))
            answers = await asyncio.gather(*(one.result(WAIT_SECONDS) for one in jobs))
            assert [one.text for one in answers] == [f"<{word}>." for word in words]
            again = await client.generate(words[0])
            assert (await again.result(0)).origin == "cached"
            missing = await client.generate(fresh("x"), model="absent:1b")
            with pytest.raises(errors.ModelMissing):
                await missing.result(WAIT_SECONDS)
            endless = await client.generate(fresh("endless"))
            for timeout in (0, 0.3):
                with pytest.raises(errors.NotReady):
                    await endless.result(timeout)
            await endless.cancel()
            with pytest.raises(errors.Cancelled):
                await endless.result(WAIT_SECONDS)
            with pytest.raises(errors.NotFound):
                await client.job("nobody").result()

    asyncio.run(main())


LOOPS = """
import asyncio, sys
from local_llm_service import AsyncClient
client = AsyncClient()

async def ask():
    job = await client.generate(sys.argv[1])
    return (await job.result(20)).text

for _ in range(2):
    assert asyncio.run(ask()) == f"<{sys.argv[1]}>."
loop = asyncio.new_event_loop()  # and nothing is shut down
loop.run_until_complete(ask())
loop.close()
assert asyncio.run(ask()) == f"<{sys.argv[1]}>."
"""


def test_one_client_serves_one_event_loop_after_the_other(fresh: Callable[[str], str]) -> None:
    """Without a warning of what is left in a closed one."""
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", LOOPS, fresh("loops")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_repeated_question_is_answered_from_the_cache(fresh: Callable[[str], str]) -> None:
    """`.get()` has the answer at once, and so has a handle that is made later from the id."""
    word = fresh("again")
    assert tasks.generate.delay(word).get(timeout=WAIT_SECONDS)["origin"] == "computed"
    again = tasks.generate.delay(word)
    answer = again.get(timeout=1)
    assert (answer["origin"], answer["text"], answer["task_id"]) == (
        "cached",
        f"<{word}>.",
        again.id,
    )
    assert tasks.generate.AsyncResult(again.id).get(timeout=1) == answer


def test_two_who_ask_the_same_share_one_generation(fresh: Callable[[str], str]) -> None:
    """Both get an answer that a worker pushed while they waited."""
    word = fresh("brief")
    both = [tasks.generate.delay(word) for _ in range(2)]
    origins = [result.get(timeout=WAIT_SECONDS)["origin"] for result in both]
    assert sorted(origins) == ["computed", "joined"]


def test_many_threads_submit_and_wait(fresh: Callable[[str], str]) -> None:
    """Connections of pools are shared among them."""
    words = [fresh("thread") for _ in range(24)]

    def ask(word: str) -> str:
        return str(tasks.generate.delay(word).get(timeout=WAIT_SECONDS)["text"])

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, words)) == [f"<{word}>." for word in words]


@pytest.mark.parametrize("queue", ["llm.high", "llm.normal", "llm.low"])
def test_a_queue_can_be_named(queue: str, fresh: Callable[[str], str]) -> None:
    """As in any Celery app."""
    word = fresh("queue")
    result = tasks.generate.apply_async((word,), queue=queue)
    assert result.get(timeout=WAIT_SECONDS)["text"] == f"<{word}>."


def test_a_countdown_waits(fresh: Callable[[str], str]) -> None:
    """The job is deferred in Redis until it is due."""
    began = time.monotonic()
    result = tasks.generate.apply_async((fresh("later"),), countdown=1)
    assert status(result.id) == "deferred"
    result.get(timeout=WAIT_SECONDS)
    assert time.monotonic() - began >= 1


def test_a_task_can_be_sent_by_name(fresh: Callable[[str], str]) -> None:
    """Our own app publishes what `send_task` makes, without the checks of a call."""
    word = fresh("named")
    result = app.send_task("llm.generate", kwargs={"prompt": word})
    assert result.get(timeout=WAIT_SECONDS)["text"] == f"<{word}>."


def test_another_app_can_send_by_name(fresh: Callable[[str], str]) -> None:
    """A stock Celery app on the same Redis, with a message in this version's form."""
    word = fresh("stock")
    other = celery.Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    sent = other.send_task("llm.generate", kwargs={"prompt": word}, queue="llm.normal")
    answer = app.AsyncResult(sent.id).get(timeout=WAIT_SECONDS)
    assert answer["text"] == f"<{word}>."


# --- canvas ---------------------------------------------------------------------------------------


def test_a_chain_passes_the_text_on(fresh: Callable[[str], str]) -> None:
    """The next task gets the answer of the one before."""
    word = fresh("chain")
    flow = chain(tasks.generate.s(word), tasks.generate.s(max_tokens=50))
    assert flow.apply_async().get(timeout=WAIT_SECONDS)["text"] == f"<<{word}>.>."


def test_a_group_runs_side_by_side(fresh: Callable[[str], str]) -> None:
    """All answers, in order."""
    words = [fresh("group") for _ in range(3)]
    answers = group(tasks.generate.s(word) for word in words).apply_async()
    assert [answer["text"] for answer in answers.get(timeout=WAIT_SECONDS)] == [
        f"<{word}>." for word in words
    ]


def test_a_chord_collects(fresh: Callable[[str], str]) -> None:
    """The body gets the texts of all answers of its header."""
    first, second = fresh("chord"), fresh("chord")
    flow = chord([tasks.generate.s(first), tasks.generate.s(second)], tasks.generate.s())
    text = flow.apply_async().get(timeout=WAIT_SECONDS)["text"]
    assert text == f"<<{first}>.\n\n<{second}>.>."


def test_a_link_is_called_with_the_answer(fresh: Callable[[str], str]) -> None:
    """Celery's callbacks fire."""
    word, linked = fresh("link"), uuid4().hex
    link = tasks.generate.s(max_tokens=9).set(task_id=linked)
    tasks.generate.apply_async((word,), link=link).get(timeout=WAIT_SECONDS)
    answer = tasks.generate.AsyncResult(linked).get(timeout=WAIT_SECONDS)
    assert answer["text"] == f"<<{word}>.>."


def test_a_link_error_is_called_with_the_failure(fresh: Callable[[str], str]) -> None:
    """A failed job fires the other one."""
    linked = uuid4().hex
    after = tasks.generate.si(fresh("sorry")).set(task_id=linked)
    failed = tasks.generate.apply_async((fresh("x"),), {"model": "absent:1b"}, link_error=after)
    with pytest.raises(errors.ModelMissing):
        failed.get(timeout=WAIT_SECONDS)
    assert tasks.generate.AsyncResult(linked).get(timeout=WAIT_SECONDS)["text"]


# --- cancel, status -------------------------------------------------------------------------------


def test_a_running_job_is_cancelled(fresh: Callable[[str], str]) -> None:
    """Its caller sees Cancelled, which is Celery's TaskRevokedError too."""
    result = tasks.generate.delay(fresh("endless"))
    wait_until(lambda: status(result.id) == "running", "the job runs")
    cancel(result.id)
    with pytest.raises(errors.Cancelled) as caught:
        result.get(timeout=WAIT_SECONDS)
    assert isinstance(caught.value, TaskRevokedError)
    assert status(result.id) == "cancelled"


def test_celerys_revoke_cancels(fresh: Callable[[str], str]) -> None:
    """`result.revoke()` of a job that nobody has begun."""
    result = tasks.generate.apply_async((fresh("revoke"),), countdown=60)
    result.revoke()
    with pytest.raises(errors.Cancelled):
        result.get(timeout=WAIT_SECONDS)


def test_a_result_that_is_not_there_times_out(fresh: Callable[[str], str]) -> None:
    """By Celery's own error; the handle goes on to work."""
    result = tasks.generate.delay(fresh("endless"))
    with pytest.raises(CeleryTimeout):
        result.get(timeout=0.3)
    assert not result.ready()
    cancel(result.id)
    with pytest.raises(errors.Cancelled):
        result.get(timeout=WAIT_SECONDS)


def test_the_service_can_be_asked_about(fresh: Callable[[str], str]) -> None:
    """Status, health, models, queues, statistics; and Celery's own `inspect`."""
    result = tasks.generate.delay(fresh("status"))
    result.get(timeout=WAIT_SECONDS)
    assert (status(result.id), status("no such id")) == ("succeeded", "unknown")
    assert health()["status"] == "healthy"
    assert [model["name"] for model in models()] == ["fake:1b"]
    assert [queue["name"] for queue in queues()] == ["llm.high", "llm.normal", "llm.low"]
    assert stats()["total_requests"] > 0
    (pong,) = app.control.ping(timeout=2)
    assert list(pong.values()) == [{"ok": "pong"}]
    assert app.control.inspect(timeout=2).active_queues()


# --- failures -------------------------------------------------------------------------------------


def test_bad_input_is_refused_in_the_caller() -> None:
    """By name of the field, with this set's pydantic and jsonschema-rs."""
    with pytest.raises(errors.InvalidRequest, match="max_tokens"):
        tasks.generate.delay("x", max_tokens=0)
    with pytest.raises(errors.InvalidRequest, match="not a valid JSON Schema"):
        tasks.structured_output.delay("x", schema={"type": "no such type"})
    with pytest.raises(errors.InvalidRequest, match="queue"):
        tasks.generate.apply_async(("x",), queue="llm.hihg")


def test_a_failure_comes_back_as_its_class(fresh: Callable[[str], str]) -> None:
    """With code, message and hint."""
    with pytest.raises(errors.ModelMissing) as caught:
        tasks.generate.delay(fresh("x"), model="absent:1b").get(timeout=WAIT_SECONDS)
    assert (caught.value.code, caught.value.retryable) == ("model_missing", False)
    assert "absent:1b" in caught.value.message
    assert "ollama pull" in caught.value.hint


def test_a_deadline_that_passes_is_told(fresh: Callable[[str], str]) -> None:
    """While the job runs."""
    result = tasks.generate.delay(fresh("endless"), deadline_seconds=0.5)
    with pytest.raises(errors.DeadlineExceeded):
        result.get(timeout=WAIT_SECONDS)
