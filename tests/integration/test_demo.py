"""`make demo` in a pipe and under Ctrl-C, with a scripted model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from local_llm_service.worker.embedded.processes.python_process import IMPORT_ROOT
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT


def demo(ollama: FakeOllama) -> subprocess.Popen[str]:
    """The demo with a Redis of its own, in a group of its own, as a shell starts it."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "PYTHONPATH": str(IMPORT_ROOT),
        "OLLAMA_HOST": ollama.host,
        "MODEL_NAME": "fake:1b",
    }
    # A shell's background job ignores SIGINT, and so do its children.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, inherited)
    return process


def test_the_quick_kinds_come_first_and_each_at_once(ollama: FakeOllama) -> None:
    """The first answer is shown before the second kind is asked: nobody stares at nothing."""
    ollama.respond = lambda body: Script(
        chunks=('{"title": "Python", "organization_id": 5}',) if "format" in body else ("Yes.",)
    )
    process = demo(ollama)
    said, _ = process.communicate(timeout=90)
    kinds = [line.split()[1] for line in said.splitlines() if line.startswith("── ")]
    assert kinds[:2] == ["extract_parameters", "generate"]
    assert kinds[-2:] == ["summarize", "compress"]
    assert said.splitlines()[1].startswith("Up in ")


@pytest.mark.parametrize("after", ["Starting", "── extract_parameters"])
def test_ctrl_c_ends_the_demo_in_a_line(ollama: FakeOllama, after: str) -> None:
    """All its processes get the signal at once, Redis too; it was 124 lines of tracebacks."""
    slow = Script(chunks=("a",) * 100, pause_seconds=1)
    # The question of `curl` comes first.
    ollama.respond = lambda body: Script(chunks=("Red",)) if "colour" in str(body) else slow
    process = demo(ollama)
    assert process.stdout is not None
    while after not in (line := process.stdout.readline()):
        assert line, "the demo has ended"
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert rest.split() == ["Stopped."]
