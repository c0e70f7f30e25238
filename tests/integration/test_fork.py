"""A process that has used the client and then forks: parent and children each get their answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from local_llm_service.worker.embedded.processes.ports import free_port
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT, StartWorker, run_python


@pytest.fixture
def echo(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """A worker whose model repeats its prompt, so that each caller knows its own answer."""

    def respond(body: dict[str, Any]) -> Script:
        return Script(chunks=(f"<{body['messages'][-1]['content']}>",))

    ollama.respond = respond
    start_worker(CONCURRENCY="8")


FORKING = """
import json, multiprocessing, os, threading
from local_llm_service import tasks

def ask(name, count):
    wrong = []
    for number in range(count):
        prompt = f"{name} {number}"
        try:
            text = tasks.generate.delay(prompt, cache=False).get(timeout=30)["text"]
        except Exception as error:
            text = type(error).__name__
        if text != f"<{prompt}>":
            wrong.append((prompt, text))
    return wrong

def child(name, queue):
    queue.put(ask(name, 15))

# The parent has used the client, and goes on while its children do.
assert ask("first", 1) == []
found = []
fork = multiprocessing.get_context("fork")
queue = fork.Queue()
children = [fork.Process(target=child, args=(f"child {n}", queue)) for n in range(8)]
for one in children:
    one.start()
threads = [threading.Thread(target=lambda n=n: found.extend(ask(f"parent {n}", 15))) for n in "ab"]
for thread in threads:
    thread.start()
for one in children:
    found += queue.get(timeout=100)
for one in (*children, *threads):
    one.join()
found += ask("last", 3)
print(json.dumps(found))
"""


def test_children_of_multiprocessing_and_their_parent_get_their_answers(echo: None) -> None:
    """The parent's connections and its listening thread are not the children's."""
    done = run_python("-W", "ignore::DeprecationWarning", "-c", FORKING, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == []


APPLICATION = """
from urllib.parse import unquote
from local_llm_service import tasks

def ask(prompt):
    return tasks.generate.delay(prompt, cache=False).get(timeout=30)["text"]

# With --preload this runs once, in the parent of all workers.
FIRST = ask("at import")

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [ask(unquote(environ["QUERY_STRING"])).encode()]
"""


def test_workers_of_gunicorn_with_preload_get_their_answers(echo: None, tmp_path: Path) -> None:
    """The application has used the client before gunicorn forks its workers."""
    (tmp_path / "application.py").write_text(APPLICATION)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4", "--threads", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "--timeout", "90", "application"]
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            wait_until(
                lambda: "Booting worker" in (tmp_path / "log").read_text() or server.poll(),
                "gunicorn starts",
            )
            prompts = [f"request {number}" for number in range(60)]
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(lambda one: fetch(port, one), prompts))
        finally:
            server.terminate()
            server.wait(30)
    assert answers == [f"<{prompt}>" for prompt in prompts], (tmp_path / "log").read_text()[-2000:]


def fetch(port: int, prompt: str) -> str:
    """The application's answer."""
    url = f"http://127.0.0.1:{port}/?{quote(prompt)}"
    with urllib.request.urlopen(url, timeout=90) as reply:
        return str(reply.read().decode())
