"""A producer in a process of its own: Redis away, beside another Celery app, the command line.

Run as producer.py is.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

#: What a caller is promised: an error within so many seconds when Redis is away. The rest is for a
#: busy machine.
AWAY_SECONDS = 5 + 5


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own on this environment's Python."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


AWAY = """
import time
from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import BrokerUnreachable

def refused(call):
    began = time.monotonic()
    try:
        call()
    except BrokerUnreachable as error:
        assert "127.0.0.1" in error.message, error.message
        return time.monotonic() - began
    raise SystemExit("no error")

seconds = [
    refused(lambda: tasks.generate.delay("hi")),
    refused(lambda: tasks.generate.delay("hi", cache=False)),
    refused(lambda: status("some-id")),
]
print(max(seconds))
"""


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_redis_that_is_away_is_told_within_seconds(how: str) -> None:
    """BrokerUnreachable, not redis-py's or kombu's own; also where it takes the connection only."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if how == "hangs":
            silent.listen()
        done = run("-c", AWAY, REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < AWAY_SECONDS


# --- beside a backend's own app -------------------------------------------------------------------

BACKEND = """
import sys, celery, os
url = os.environ["REDIS_URL"]
mine = celery.Celery("mine", broker=url, backend=url)
mine.conf.task_default_queue = "mine"

@mine.task(name="mine.add")
def add(a, b):
    return a + b

before = celery.current_app._get_current_object()
from local_llm_service import tasks
from local_llm_service.worker.app import app as ours
assert celery.current_app._get_current_object() is before is mine
assert not [name for name in mine.tasks if name.startswith("llm.")]
add.delay(2, 3)
assert tasks.generate.delay(sys.argv[1]).get(timeout=20)["text"] == f"<{sys.argv[1]}>."
with mine.connection_for_read() as connection:
    message = connection.default_channel.basic_get("mine", no_ack=True)
assert message.headers["task"] == "mine.add", message
assert type(connection.transport).__module__ == "kombu.transport.redis"
import celeryconfig
assert celeryconfig.MARK == "theirs"
import tasks as their_tasks
assert their_tasks.MARK == "theirs"
"""


def test_a_backends_own_app_is_not_disturbed(tmp_path: Path, fresh: Callable[[str], str]) -> None:
    """Same process and Redis; its app, queue, `tasks.py` and `celeryconfig.py` stay its own."""
    for name in ("celeryconfig.py", "tasks.py"):
        (tmp_path / name).write_text("MARK = 'theirs'\n")
    (tmp_path / "backend.py").write_text(BACKEND)
    done = run(str(tmp_path / "backend.py"), fresh("beside"))
    assert done.returncode == 0, done.stderr[-2000:]


# --- the command line -----------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """`local-llm`, as it was installed."""
    script = Path(sys.executable).with_name("local-llm")
    return subprocess.run([script, *words], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_answers(fresh: Callable[[str], str]) -> None:
    """With this set's click."""
    word = fresh("command")
    done = command("generate", word, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == f"<{word}>."
    assert command("health").returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("generate", "x", "--max-tokens", "0"), 2),
        (("no-such-command",), 2),
        (("status", "no-such-id"), 5),
        (("--help",), 0),
    ],
)
def test_the_command_ends_with_its_code(words: tuple[str, ...], code: int) -> None:
    """Errors that click raises differ from one version to the next; ours do not."""
    done = command(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_a_worker_says_what_it_needs() -> None:
    """The client alone is no worker host; the message names the extra to install."""
    done = run("-m", "local_llm_service.worker")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "local-llm-service[worker]" in done.stderr
