"""What a slot does outside the engine obeys deadline, cancel and SIGTERM, whatever it is."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import Any

import pytest
import redis
from celery import chord

from local_llm_service import tasks
from local_llm_service.producers.service import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.hanging_worker import HANG, HangingWorker
from tests.doubles.hostile_schemas import BOMBS, PATTERNS, doubled_below, nested
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()
WAIT_SECONDS = 40

#: Half a minute of work, if nobody stops it; too wide to be counted before.
SLOW_SCHEMA = {
    "prefixItems": [{"$ref": "#/$defs/d0"}],
    "items": {"type": "integer"},
    "$defs": doubled_below(40)["$defs"],
}
SLOW_ANSWER = json.dumps([nested(40), *range(30_000)])


@pytest.fixture
def start_hanging(start_worker_of: StartWorker, ollama: FakeOllama) -> StartWorker:
    """Start workers whose slots hang on HANG; they end with the test."""
    ollama.respond = answer
    return partial(start_worker_of, HangingWorker)


def answer(body: dict[str, Any]) -> Script:
    """The last line of the prompt comes back."""
    return Script(chunks=(str(body["messages"][-1]["content"]).splitlines()[-1],))


def test_a_job_that_hangs_past_its_deadline_ends(start_hanging: StartWorker) -> None:
    """It ends, though its slot does not; and the only slot is replaced."""
    worker = start_hanging(CONCURRENCY="2")
    hanging = tasks.generate.delay(HANG, deadline_seconds=1)
    with pytest.raises(errors.DeadlineExceeded):
        hanging.get(timeout=WAIT_SECONDS)
    after = [tasks.generate.delay(f"after {n}") for n in range(4)]
    assert [one.get(timeout=WAIT_SECONDS)["text"] for one in after] == [
        f"after {n}" for n in range(4)
    ]
    assert f"job {hanging.id}: its slot does not end" in worker.log_path.read_text()


def test_a_job_that_hangs_can_be_cancelled(start_hanging: StartWorker) -> None:
    """Also while its deadline is far away."""
    start_hanging(CONCURRENCY="2")
    hanging = tasks.generate.delay(HANG)
    wait_until(lambda: status(hanging.id) == "running", "the job runs")
    cancel(hanging.id)
    with pytest.raises(errors.Cancelled):
        hanging.get(timeout=WAIT_SECONDS)


def test_a_chord_hears_of_a_part_that_hangs(start_hanging: StartWorker) -> None:
    """The next take ends the part as usual, with all that waits for it."""
    start_hanging(CONCURRENCY="2")
    parts = [tasks.generate.s("part"), tasks.generate.s(HANG, deadline_seconds=1)]
    body = chord(parts)(tasks.summarize.s())
    with pytest.raises(Exception, match="deadline passed"):
        body.get(timeout=WAIT_SECONDS)


def test_a_worker_whose_slots_all_hang_ends(start_hanging: StartWorker) -> None:
    """A supervisor starts it afresh; the jobs have their ends."""
    worker = start_hanging(CONCURRENCY="1", DRAIN_SECONDS="1")
    with pytest.raises(errors.DeadlineExceeded):
        tasks.generate.delay(HANG, deadline_seconds=1).get(timeout=WAIT_SECONDS)
    wait_until(lambda: not worker.running, "the worker has ended")
    assert "restarting" in worker.log_path.read_text()


def test_sigterm_ends_a_worker_with_a_slot_that_hangs(
    start_hanging: StartWorker, redis_client: redis.Redis
) -> None:
    """It outlived SIGTERM before, and kept its lease for ever. The message goes back."""
    worker = start_hanging(CONCURRENCY="2", DRAIN_SECONDS="1")
    hanging = tasks.generate.delay(HANG)
    wait_until(lambda: status(hanging.id) == "running", "the job runs")
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: not worker.running, "the worker has ended")
    assert status(hanging.id) == "queued"
    assert redis_client.hlen(KEYS.unacked) == 0


def test_sigterm_ends_a_worker_that_checks_an_answer(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The check runs in a process of its own, which the end of the drain kills."""
    ollama.respond = lambda _: Script(chunks=(SLOW_ANSWER,))
    worker = start_worker(CONCURRENCY="2", DRAIN_SECONDS="1")
    job = tasks.structured_output.delay("p", SLOW_SCHEMA)
    child = wait_until(lambda: children(worker.pid), "the check runs")
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: not worker.running, "the worker has ended")
    assert "a slot does not end" not in worker.log_path.read_text()
    assert status(job.id) == "queued"
    wait_until(lambda: not any(map(is_alive, child)), "the check has ended")


def test_a_cancel_ends_a_check(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """At once, with its process."""
    ollama.respond = lambda _: Script(chunks=(SLOW_ANSWER,))
    worker = start_worker(CONCURRENCY="2")
    job = tasks.structured_output.delay("p", SLOW_SCHEMA)
    child = wait_until(lambda: children(worker.pid), "the check runs")
    cancel(job.id)
    with pytest.raises(errors.Cancelled):
        job.get(timeout=WAIT_SECONDS)
    wait_until(lambda: not any(map(is_alive, child)), "the check has ended")


def test_no_hostile_schema_hangs_a_worker(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """66 of them in four slots: each ends in its time, the neighbour runs once, no lease lapses."""
    cases = [({"pattern": pattern}, text) for pattern, text in PATTERNS] + [*BOMBS.values()]
    texts = {str(n): json.dumps(instance) for n, (_, instance) in enumerate(cases)}
    texts["neighbour"] = "fine"
    ollama.respond = lambda body: Script(chunks=(texts[prompt_in(body)],))
    # The largest schemas are to be evaluated, so their prompts have to fit.
    worker = start_worker(CONCURRENCY="4", LEASE_SECONDS="5", NUM_CTX="1000000")
    # By name, as a caller sends who has not our client: nothing is checked before the worker.
    jobs = [send_by_name(str(n), schema) for n, (schema, _) in enumerate(cases)]
    neighbours = [tasks.generate.delay("neighbour", cache=False) for _ in range(4)]
    for job in neighbours:
        assert job.get(timeout=WAIT_SECONDS)["text"] == "fine"
    codes = [code_of(job) for job in jobs]
    assert set(codes) <= {"succeeded", "invalid_request", "invalid_output", "deadline_exceeded"}
    asked = [seen.body["messages"][-1]["content"] for seen in ollama.seen]
    assert asked.count("neighbour") == 4
    log = worker.log_path.read_text()
    assert "its worker is gone" not in log
    assert "slot does not end" not in log
    assert worker.running


def prompt_in(body: Any) -> str:
    """What the caller asked, also where the model is asked again."""
    given = next(one["content"] for one in body["messages"] if one["role"] == "user")
    return str(given).split("\n")[0]


def send_by_name(prompt: str, schema: Any) -> Any:
    """A job as another application sends it."""
    from celery import Celery

    other = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    sent = other.send_task(
        "llm.structured_output",
        kwargs={"prompt": prompt, "schema": schema, "deadline_seconds": 60.0},
        queue="llm.high",
    )
    return tasks.structured_output.AsyncResult(sent.id)


def code_of(job: Any) -> str:
    """How a job ended."""
    try:
        job.get(timeout=WAIT_SECONDS)
    except errors.ServiceError as error:
        return error.code
    return "succeeded"


def children(pid: int) -> list[int]:
    """The child processes of a process that run the check of a schema."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline") as line:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
                    if parent == pid and "schema_verdict" in line.read():
                        found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists."""
    return os.path.exists(f"/proc/{pid}")
