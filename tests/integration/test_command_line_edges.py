"""The command line with odd input, odd output, and answers that would drive a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service.producers.cli.output import numbers
from local_llm_service.producers.cli.terminal import neutral
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT, run_python
from tests.integration.test_command_line import Here, cli
from tests.integration.test_command_line import here as here

HOSTILE = "\x1b]0;title\x07\x1b[2Jclean\r\x9b31m\u202e\x7f done\tand\nnext"


def through(arguments: list[str], **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with these streams."""
    return subprocess.run(
        [sys.executable, "-m", "producers", *arguments],
        cwd=ROOT,
        timeout=60,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


def on_a_terminal(*arguments: str) -> str:
    """What a command shows on a terminal, stdout and stderr together."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "producers", *arguments], cwd=ROOT, stdout=child, stderr=child
    )
    os.close(child)
    seen = b""
    try:
        while chunk := os.read(parent, 65_536):
            seen += chunk
    except OSError:  # the terminal's way to say that its last program has ended
        pass
    process.wait(timeout=60)
    os.close(parent)
    return seen.decode()


def test_a_models_text_cannot_drive_the_terminal(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """On a terminal control characters are escapes, in JSON too; a pipe gets the text as it is."""
    ollama.respond = lambda _: Script(chunks=(HOSTILE,))
    for more in ((), ("--json",)):
        shown = on_a_terminal("generate", "hi", *more)
        shown = shown.replace("\x1b[K", "")  # our own line of progress
        assert "\x1b" not in shown
        assert not set("\x07\x9b\x7f\u202e") & set(shown)
        assert "\\u001b[2Jclean" in shown
    assert cli("generate", "hi").stdout == f"{HOSTILE}\n".replace("\r", "\n")  # text mode reads so
    answer = json.loads(cli("generate", "hi", "--json").stdout)
    assert answer["text"] == HOSTILE
    assert json.loads(neutral(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def test_a_cached_answer_says_so(worker: WorkerProcess) -> None:
    """Its seconds are zero, which would puzzle a reader otherwise."""
    assert "from the cache" not in cli("generate", "once").stderr
    assert "from the cache" in cli("generate", "once").stderr


def test_a_summary_that_is_longer_is_not_called_a_saving() -> None:
    """It said "-44 tokens saved"."""
    answer = {
        "model": "m",
        "origin": "computed",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "timings": {"queued_seconds": None},
        "tokens_saved": -44,
        "finish_reason": "stop",
    }
    assert "44 tokens more than before" in numbers(answer)
    assert "saved" not in numbers(answer)


def test_an_output_that_cannot_be_written_is_one_line_and_exits_with_6(
    redis_client: redis.Redis,
) -> None:
    """A full disk, and a reader that has seen enough; the job is done all the same."""
    with open("/dev/full", "wb") as full:
        done = through(["queues"], stdout=full)
    assert done.returncode == 6
    assert done.stderr.decode().splitlines() == [
        "cannot write the output: No space left on device. "
        "Free space, then read it again: local-llm result ID."
    ]
    reader, writer = os.pipe()
    os.close(reader)
    done = through(["queues"], stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (6, b"")
    with open("/dev/full", "wb") as full:
        assert through(["result", "nobody"], stderr=full).returncode == 5


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["summarize", "-"], "Grüße".encode("latin-1"), "stdin: is not UTF-8 text at byte 2"),
        (["generate", "-"], b"\xff\xfeh\0i\0", "stdin: is not UTF-8 text at byte 0"),
        (["generate", b"Gr\xfc\xdfe"], b"", "not UTF-8 at character 2"),
        (["compress", "-"], b"[" * 100_000, "stdin: is nested too deep"),
        (["compress", "-"], b"[" + b"1" * 5000 + b"]", "stdin: has a number that is too long"),
        (["compress", "-"], b"[", "stdin: is not JSON at line 1"),
        (["summarize", "a\0b"], b"", None),
    ],
)
def test_input_that_cannot_be_read_is_named(
    redis_client: redis.Redis, words: Any, stdin: bytes, said: str | None
) -> None:
    """One line and exit code 2; a Latin-1 file was called "half a character"."""
    if said is None:  # the kernel refuses such a word
        with pytest.raises(ValueError, match="null byte"):
            through(words)
        return
    done = through(words, input=stdin)
    error = done.stderr.decode()
    assert done.returncode == 2
    assert error.startswith("invalid_request: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_byte_order_mark_is_no_part_of_the_input(
    here: Here, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """Editors on Windows write one before JSON."""
    talk = tmp_path / "talk.json"
    talk.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"role": "user", "content": "Hi"}]).encode())
    assert here("compress", str(talk), "--no-wait").returncode == 0


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "many"])
def test_a_timeout_is_a_finite_time(here: Here, seconds: str) -> None:
    """`--timeout -1` was accepted, and ended at once."""
    done = here("generate", "hi", "--timeout", seconds)
    assert done.returncode == 2
    assert "--timeout" in done.stderr
    assert ".." not in done.stderr


@pytest.mark.parametrize("command", ["result", "status", "cancel"])
def test_what_can_be_no_id_is_bad_input(here: Here, command: str) -> None:
    """And no job that has failed."""
    done = here(command, "no\nid")
    assert (done.returncode, "task_id" in done.stderr) == (2, True)


def test_an_unknown_command_is_one_sentence(here: Here) -> None:
    """click's own message ends with a full stop already."""
    assert ".." not in here("nonsense").stderr


def test_the_version_is_told(here: Here) -> None:
    """For a report."""
    done = here("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("local-llm ")


def test_a_wrong_setting_is_told_with_its_own_hint() -> None:
    """There is no argument to correct, and no request to send again."""
    done = cli("queues", REDIS_URL="foo")
    assert done.returncode == 2
    assert done.stderr.startswith("invalid_setting: setting REDIS_URL: ")
    assert "argument" not in done.stderr
    assert "CONCURRENCY" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_hint_without_a_worker_names_the_prefix(redis_client: redis.Redis) -> None:
    """A producer with another KEY_PREFIX than the workers sees no worker."""
    done = cli("generate", "hi", "--timeout", "0.1", KEY_PREFIX="{other}llm:")
    assert "KEY_PREFIX {other}llm:" in done.stderr
    for key in redis_client.scan_iter("{other}*"):
        redis_client.delete(key)


def test_a_redis_that_cannot_write_says_what_to_do() -> None:
    """It is running: "Start Redis" would mislead."""
    with RedisProcess(extra=("--maxmemory", "1mb")) as server:
        done = cli("generate", "x" * 100_000, "--no-wait", REDIS_URL=server.url)
    assert done.returncode == 3
    assert "memory" in done.stderr
    assert "Start Redis" not in done.stderr


def test_dead_letters_are_one_line_each(worker: WorkerProcess, redis_client: redis.Redis) -> None:
    """A kind by name comes from its sender and may hold a line break."""
    from celery import Celery

    other = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    other.send_task("llm.one\ntwo\x1b[2J", queue="llm.high")
    wait_until(lambda: cli("dead", "list").stdout, "the dead letter")
    listed = cli("dead", "list").stdout
    assert len(listed.splitlines()) == 1
    assert "\x1b" not in listed


def test_stats_compare_prices_and_say_so(worker: WorkerProcess) -> None:
    """A small model's tokens at a large model's price are no money saved."""
    cli("generate", "hi")
    said = cli("stats").stdout
    assert "saved" not in said
    assert "prices are compared, not models" in said


def test_without_the_workers_packages_a_direct_call_says_what_to_install() -> None:
    """A client-only install has no engine."""
    code = (
        "import sys; sys.modules['httpx'] = None; sys.modules['prometheus_client'] = None\n"
        "from local_llm_service import summarize\n"
        "summarize('a text')\n"
    )
    done = run_python("-c", code)
    assert "pip install 'local-llm-service[worker]'" in done.stderr.splitlines()[-1]
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from celery.__main__ import main\n"
        "sys.argv = ['celery', '-A', 'local_llm_service.worker.app', 'worker']\n"
        "main()\n"
    )
    done = run_python("-c", code)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(
        "prometheus_client is not installed: pip install"
    )
    assert "Traceback" not in done.stderr
