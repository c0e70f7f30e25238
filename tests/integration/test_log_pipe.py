"""A log that nobody reads costs its lines and nothing else; names in it cannot forge lines."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker

KEYS = Keys()
PAGE_BYTES = 4096

STARTS = {
    "python -m": ["-m", "local_llm_service.worker"],
    "celery -A": [
        *("-m", "celery", "-A", "local_llm_service.worker.app", "worker"),
        *("--loglevel", "INFO", "--hostname", "pipe@localhost"),
    ],
}


@contextmanager
def a_pipe_that_nobody_reads() -> Iterator[int]:
    """The writing end of a pipe of one page, the smallest: a start alone fills it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE_BYTES)
    yield writer
    os.close(reader)
    os.close(writer)


def fill(pipe: int) -> None:
    """Leave no room for the shortest line, either."""
    own = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(own, b"x")
    os.close(own)


@pytest.mark.parametrize("start", STARTS)
def test_a_log_that_nobody_reads_stops_no_slot(
    start: str, redis_client: redis.Redis, ollama: FakeOllama
) -> None:
    """Jobs are answered, and SIGTERM ends the worker, with stdout and stderr full."""
    environment = {**os.environ, "OLLAMA_HOST": ollama.host, "MODEL_NAME": "fake:1b"}
    with a_pipe_that_nobody_reads() as pipe:
        worker = subprocess.Popen(
            [sys.executable, *STARTS[start]], env=environment, stdout=pipe, stderr=pipe
        )
        try:
            sent = [tasks.generate.delay(f"question {n}", cache=False) for n in range(60)]
            assert [one.get(timeout=40)["text"] for one in sent] == ["Hello."] * 60
            fill(pipe)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=30) == 0
        finally:
            worker.kill()
            worker.wait()


FORGED = "id\n2026-01-01 00:00:00,000 CRITICAL forged 7d1f\x1b[2J"


@pytest.mark.parametrize("task_id", [FORGED, "x" * 256, "a\u2028b", "\ud800"])
def test_an_id_that_no_log_can_show_is_refused(redis_client: redis.Redis, task_id: str) -> None:
    """The caller hears it; nothing is queued."""
    with pytest.raises(InvalidRequest, match="task_id"):
        tasks.generate.apply_async(("hi",), task_id=task_id)
    assert redis_client.keys("*job:*") == []


def test_an_id_by_name_cannot_forge_a_line(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """Sent to a bare list it is set aside; what is put past that is logged in one line."""
    other = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    other.send_task("llm.generate", ["hi"], queue="llm.high", task_id=FORGED)
    wait = redis_client.lrange("llm.high", 0, -1)
    assert len(wait) == 1
    redis_client.lpush(KEYS.queue("llm.high"), wait[0])  # as only a hostile sender would
    worker = start_worker(LOG_LEVEL="DEBUG")
    wait_until(lambda: redis_client.llen(KEYS.unreadable) == 1, "the message is set aside")
    wait_until(lambda: "forged" in worker.log_path.read_text(), "the other is logged")
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    worker.stop()
    lines = worker.log_path.read_text().splitlines()
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    assert any("id\\n2026-01-01" in line for line in lines)
    assert "\x1b[2J" not in "".join(lines)
    assert json.loads(redis_client.lindex(KEYS.unreadable, 0))["headers"]["id"] == FORGED
