"""A process that has used the client and then forks: parent and children each get their answers.

Under gunicorn: test_environments.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python


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
