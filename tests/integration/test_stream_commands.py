"""`--stream` and `local-llm stream ID` print a job's text as it comes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from local_llm_service import Client
from local_llm_service.producers.cli import main
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT

SHARED_WORKER = {"CONCURRENCY": "2"}
TALE = ("Once ", "upon ", "a time")
_numbers = count(1)

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def cli(shared_worker: WorkerProcess, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process."""

    def run(*words: str) -> Done:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(str(end.value)), said.out, said.err)

    return run


def says(ollama: FakeOllama, *pieces: str, **how: Any) -> str:
    """Let the model answer so from now on; a new question."""
    how = {"pause_seconds": 0.06, **how}
    ollama.respond = lambda _: Script(pieces or TALE, **how)
    return f"question {next(_numbers)}"


def test_the_text_is_printed_and_its_numbers(
    cli: Callable[..., Done], shared_ollama: FakeOllama
) -> None:
    """As without --stream: the text on stdout, one line of numbers on stderr."""
    done = cli("generate", says(shared_ollama), "--stream")
    assert (done.returncode, done.stdout) == (0, "Once upon a time\n")
    assert "11 + 3 tokens" in done.stderr


def test_json_is_one_event_a_line(cli: Callable[..., Done], shared_ollama: FakeOllama) -> None:
    """A program reads each line when it comes."""
    done = cli("generate", says(shared_ollama), "--stream", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events][-2:] == ["text", "end"]
    assert len(events) > 2
    assert "".join(event.get("text", "") for event in events) == "Once upon a time"
    assert events[-1]["answer"]["text"] == "Once upon a time"
    assert {event["task_id"] for event in events} == {events[-1]["answer"]["task_id"]}
    again = cli("stream", events[0]["task_id"], "--after", events[0]["offset"])
    assert (again.returncode, again.stdout) == (0, "upon a time\n")


def test_every_kind_streams(cli: Callable[..., Done], shared_ollama: FakeOllama) -> None:
    """The raw text of a JSON kind: each try begins anew."""
    says(shared_ollama, '{"a"', ": 1}\n")
    schema = ROOT / "examples" / "book.schema.json"
    done = cli("structured", f"{next(_numbers)}", "--schema", str(schema), "--stream", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    tries = "".join(event.get("text", "|" * (event["type"] == "restart")) for event in events)
    assert tries.split("|") == ['{"a": 1}\n'] * 3
    assert (done.returncode, events[-1]["type"]) == (1, "failed")
    assert events[-1]["error"]["code"] == "invalid_output"


def test_a_failure_is_told_on_stderr(cli: Callable[..., Done], shared_ollama: FakeOllama) -> None:
    """After the text of the last try, on a line of its own."""
    says(shared_ollama, "no ", "JSON")
    schema = ROOT / "examples" / "book.schema.json"
    done = cli("structured", f"{next(_numbers)}", "--schema", str(schema), "--stream")
    assert (done.returncode, done.stdout) == (1, "no JSON\n" * 3)
    assert done.stderr.splitlines()[-1].startswith("invalid_output: ")


def test_a_restart_is_told_on_stderr(cli: Callable[..., Done], shared_ollama: FakeOllama) -> None:
    """What follows on stdout begins on a line of its own."""
    tries = count()
    question = says(shared_ollama)
    # The second piece leaves time to read the first; whether it is read itself is chance.
    first = Script(("There ", "was "), pause_seconds=1.5, end="cut")
    shared_ollama.respond = lambda _: Script(TALE) if next(tries) else first
    done = cli("generate", question, "--stream")
    assert done.returncode == 0
    assert re.fullmatch(r"There (was )?\nOnce upon a time\n", done.stdout)
    assert "The job runs again" in done.stderr


def test_a_wait_that_is_too_long_says_how_to_read_on(
    cli: Callable[..., Done], shared_ollama: FakeOllama
) -> None:
    """The job goes on, and the exit code is 4."""
    done = cli("generate", says(shared_ollama, end="hang"), "--stream", "--timeout", "1")
    assert (done.returncode, done.stdout) == (4, "Once upon a time\n")
    words = done.stderr.rpartition("local-llm ")[2].rstrip(".\n").split()
    assert words[0] == "stream"
    Client().job(words[1]).cancel()
    assert cli(*words).stderr.startswith("cancelled: ")


@pytest.fixture
def streaming(shared_worker: WorkerProcess) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "local_llm_service.producers", *words]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_cancels_the_job(
    streaming: Callable[..., subprocess.Popen[str]], shared_ollama: FakeOllama
) -> None:
    """Who presses it wants the answer no more: the model stops."""
    process = streaming("generate", says(shared_ollama, end="hang"), "--stream")
    assert process.stdout is not None
    assert process.stdout.read(4) == "Once"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "is cancelled" in said
    wait_until(lambda: shared_ollama.seen[-1].closed_at is not None, "the model has stopped")


def test_a_reader_that_leaves_cancels_the_job(
    streaming: Callable[..., subprocess.Popen[str]], shared_ollama: FakeOllama
) -> None:
    """As `| head -c 4`: nobody reads what the model would write."""
    pieces = tuple(f"{n} " * 50 for n in range(400))
    process = streaming("generate", says(shared_ollama, *pieces), "--stream")
    assert process.stdout is not None
    process.stdout.read(4)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(20) == 6
    wait_until(lambda: shared_ollama.seen[-1].closed_at is not None, "the model has stopped")


def test_a_terminal_is_not_driven_by_a_text(
    cli: Callable[..., Done], shared_ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a control sequence comes in two pieces."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    done = cli(
        "generate", says(shared_ollama, "a\x1b", "[31m", "b\n", pause_seconds=0.1), "--stream"
    )
    assert done.returncode == 0
    assert shown.getvalue() == "a\\u001b[31mb\n"


def test_pieces_are_printed_at_once(
    streaming: Callable[..., subprocess.Popen[str]], shared_ollama: FakeOllama
) -> None:
    """Not when a buffer is full, also in a pipe."""
    process = streaming("generate", says(shared_ollama, "Once", end="hang"), "--stream")
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 100) == b"Once"
    process.send_signal(signal.SIGINT)
