"""`close` ends what runs, and leaves nothing behind."""

from __future__ import annotations

import threading

import pytest

from local_llm_service.worker.errors import InternalError
from tests.conformance.calls import SOON, ask
from tests.conformance.subject import Scene, Scripted, Subject
from tests.conftest import wait_until


def test_closing_ends_the_calls_that_still_run(scripted: Scripted) -> None:
    """No slot waits for a thread that is gone, and the server is left."""
    engine = scripted.engine()
    scripted.play(Scene(end="hang"))
    ended: list[str] = []

    def run() -> None:
        with pytest.raises(InternalError) as failure:
            ask(engine, scripted)
        ended.append(failure.value.message)

    slots = [threading.Thread(target=run) for _ in range(3)]
    for slot in slots:
        slot.start()
    wait_until(lambda: len(scripted.heard()) == 3, "all were sent")
    engine.close()
    for slot in slots:
        slot.join(SOON)
    assert ended == ["the engine was closed while a job ran"] * 3
    wait_until(lambda: not scripted.at_work(), "the engine has hung up", 5)


def test_closing_ends_the_engines_threads(subject: Subject) -> None:
    """Also after an answer, which opened a connection."""
    before = set(threading.enumerate())
    engine = subject.engine()
    ask(engine, subject)
    engine.models()
    engine.close()
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert [thread.name for thread in left if "engine" in thread.name.lower()] == []
