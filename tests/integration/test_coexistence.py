"""The service runs beside a backend's own Celery app on one Redis, and in Celery's canvas."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chain, chord, group

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.keys import Keys
from tests.doubles.ollama import FakeOllama, Script

KEYS = Keys()

BACKEND = """
import sys, celery, json
mine = celery.Celery("mine", broker="{url}", backend="{url}")
mine.conf.task_default_queue = "mine"

@mine.task(name="mine.add")
def add(a, b):
    return a + b

before = celery.current_app._get_current_object()
from local_llm_service import tasks
from local_llm_service.worker.app import app as ours
assert celery.current_app._get_current_object() is before is mine
assert not [name for name in mine.tasks if name.startswith("llm.")]
assert ours.conf.task_default_queue == "llm.normal", "our settings are our own"
add.delay(2, 3)
tasks.generate.delay("hi")
print(json.dumps([mine.conf.task_default_queue, sys.modules.get("celeryconfig") is None]))
"""


def test_a_backends_own_app_is_not_disturbed(
    redis_client: redis.Redis, run_python: Any, tmp_path: Path
) -> None:
    """In one process, Redis and database the backend keeps its current_app, tasks and settings.

    The backend's `celeryconfig.py` is neither mistaken for ours nor replaced by ours.
    """
    (tmp_path / "celeryconfig.py").write_text("task_default_queue = 'theirs'\n")
    (tmp_path / "backend.py").write_text(BACKEND.format(url=os.environ["REDIS_URL"]))
    done = run_python("backend.py", cwd=tmp_path)
    assert done.stdout == '["mine", true]\n', done.stderr
    assert redis_client.llen("mine") == 1
    redis_client.delete("mine")
    assert redis_client.llen(KEYS.queue("llm.high")) == 1


def test_every_key_is_under_our_prefix(worker: WorkerProcess, redis_client: redis.Redis) -> None:
    """Every key that worker and producer write begins with KEY_PREFIX."""
    tasks.generate.delay("hi").get(timeout=20)
    worker.stop()
    foreign = [key for key in redis_client.scan_iter() if not key.startswith(KEYS.prefix)]
    assert foreign == []


def test_a_control_broadcast_of_another_app_does_not_reach_our_worker(
    worker: WorkerProcess,
) -> None:
    """`shutdown` from a backend's app on the same Redis stops only that app's workers."""
    from celery import Celery

    url = os.environ["REDIS_URL"]
    other = Celery("other", broker=url, backend=url, set_as_current=False)
    other.control.broadcast("shutdown")
    assert other.control.ping(timeout=1) == []
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    assert worker.running


def echo(body: dict[str, Any]) -> Script:
    """Answer with the text of the user's message, so that a test sees which text arrived."""
    return Script(chunks=(f"<{body['messages'][-1]['content']}>.",))


def test_a_chain_passes_the_text_on(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """The next task gets the previous answer and uses its text."""
    ollama.respond = echo
    flow = chain(tasks.generate.s("doc"), tasks.generate.s(max_tokens=50))
    assert flow.apply_async().get(timeout=20)["text"] == "<<doc>.>."


def test_a_group_runs_side_by_side(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """The group returns all answers in order."""
    ollama.respond = echo
    answers = group(tasks.generate.s(word) for word in "abc").apply_async().get(timeout=20)
    assert [answer["text"] for answer in answers] == ["<a>.", "<b>.", "<c>."]


def test_a_chord_collects(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """The body gets the texts of all answers in its header."""
    ollama.respond = echo
    flow = chord([tasks.generate.s(word) for word in "ab"], tasks.generate.s())
    assert flow.apply_async().get(timeout=20)["text"] == "<<a>.\n\n<b>.>."


def test_a_link_is_called_with_the_answer(
    worker: WorkerProcess, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Celery's callbacks run."""
    ollama.respond = echo
    link = tasks.generate.s(max_tokens=9).set(task_id="linked")
    tasks.generate.apply_async(("a",), link=link).get(timeout=20)
    assert tasks.generate.AsyncResult("linked").get(timeout=20)["text"] == "<<a>.>."


def test_bad_input_in_a_later_step_fails_that_step_and_not_the_one_before(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """A worker makes that call and nobody sees it raise: the error becomes the step's result."""
    flow = chain(tasks.generate.s("a"), tasks.generate.s(max_tokens=0))
    last = flow.apply_async()
    with pytest.raises(InvalidRequest, match="max_tokens"):
        last.get(timeout=20)
    assert last.parent.get(timeout=20)["text"] == "Hello."
