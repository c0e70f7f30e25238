"""All embedded child processes share probes that tell their server from any other."""

import os
import socket
from pathlib import Path

import pytest

from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.python_process import IMPORT_ROOT, PythonProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.doubles.ollama import FakeOllama


def test_a_web_server_answers_where_it_has_the_page(ollama: FakeOllama) -> None:
    """Only status 200 counts: a server whose page is missing is not ready."""
    assert answers_http(ollama.port, "/api/version")
    assert not answers_http(ollama.port, "/healthcheck")


def test_a_server_that_speaks_no_http_does_not_answer(redis_process: RedisProcess) -> None:
    """A stranger on the port is not mistaken for our server and does not crash the probe."""
    assert not answers_http(redis_process.port, "/")


def test_no_server_answers_at_a_free_port() -> None:
    """The port from `free_port` can be bound."""
    port = free_port()
    assert not answers_http(port, "/")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_a_childs_own_settings_win_and_its_modules_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child inherits the shell's environment behind its own settings and our folder."""

    class Child(PythonProcess):
        roots = (*PythonProcess.roots, Path("/more"))

    monkeypatch.setenv("PYTHONPATH", "/shell")
    monkeypatch.setenv("MODEL_NAME", "from the shell")
    monkeypatch.setenv("NUM_CTX", "1024")
    environment = Child({"MODEL_NAME": "own"}).environment()
    assert environment["PYTHONPATH"] == os.pathsep.join([str(IMPORT_ROOT), "/more", "/shell"])
    assert (environment["MODEL_NAME"], environment["NUM_CTX"]) == ("own", "1024")
