"""A stop ends the generation at the server, whenever it comes."""

from __future__ import annotations

import threading

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import Cancelled, ServiceError
from local_llm_service.worker.prompt import ToEmbed
from tests.conformance.calls import SOON, Caller, ask, prompt
from tests.conformance.conftest import MakeEngine
from tests.conformance.real_subjects import Real
from tests.conformance.subject import Scene, Scripted, Subject
from tests.conftest import wait_until

#: Long enough that an answer is far from its end when the test has seen its beginning.
LONG = prompt("Tell a long story of a ship.", max_tokens=400)
#: What a real server may still compute after a stop: the whole answer takes it three seconds.
AFTER_SECONDS = 0.5


def in_a_thread(engine: Engine, subject: Subject, caller: Caller) -> tuple[threading.Thread, list]:
    """Ask in a thread, and keep the error with which that ends."""
    ended: list[ServiceError] = []

    def run() -> None:
        try:
            ask(engine, subject, stoppable=caller)
        except ServiceError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_a_stop_before_the_call_sends_nothing(scripted: Scripted, engine: Engine) -> None:
    """The job was cancelled after a worker took it and before it ran."""
    caller = Caller()
    caller.reason = Cancelled("too late")
    with pytest.raises(Cancelled, match="too late"):
        ask(engine, scripted, stoppable=caller)
    with pytest.raises(Cancelled, match="too late"):
        engine.embed(
            ToEmbed(("a",)), model=scripted.model, remaining_seconds=SOON, stoppable=caller
        )
    engine.version()  # the engine's thread is past the call by now
    assert list(scripted.heard()) == []


def test_a_stop_while_text_comes_ends_the_generation(subject: Subject, engine: Engine) -> None:
    """No text comes afterwards, the stop is let go of, and the server stops working."""
    if isinstance(subject, Scripted):
        subject.play(Scene(pieces=tuple(f"{n} " for n in range(300)), end="hang"))
    caller, heard = Caller(), list[str]()

    def sink(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 3:
            caller.request_stop(Cancelled("enough"))

    with pytest.raises(Cancelled, match="enough"):
        ask(engine, subject, LONG, stoppable=caller, on_text=sink)
    at_the_end = len(heard)
    spent = subject.cpu_seconds() if isinstance(subject, Real) else 0.0
    wait_until(lambda: not subject.at_work(), "the server has stopped")
    if isinstance(subject, Real):
        assert subject.cpu_seconds() - spent < AFTER_SECONDS
    assert len(heard) == at_the_end
    assert caller.stops[-1] is None


def test_a_stop_during_the_prompt_ends_the_call(
    scripted: Scripted, make_engine: MakeEngine
) -> None:
    """At once; a slot that the server still works in is told of, and told free again."""
    engine = make_engine()
    scripted.play(Scene(first_seconds=0.4))
    free = threading.Event()
    engine.on_free(free.set)
    caller = Caller()
    thread, ended = in_a_thread(engine, scripted, caller)
    wait_until(scripted.heard, "the request is there")
    caller.request_stop(Cancelled("enough"))
    was_occupied = engine.occupied > 0
    thread.join(SOON)
    assert [type(error) for error in ended] == [Cancelled]
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)
    was_occupied = was_occupied or engine.occupied > 0
    wait_until(lambda: engine.occupied == 0, "no slot is occupied")
    if was_occupied:
        assert free.wait(5)


def test_a_stop_ends_its_own_call_alone(scripted: Scripted, engine: Engine) -> None:
    """Others of the same engine go on."""
    scripted.play(Scene(pause_seconds=0.06))
    stopped, other = Caller(), Caller()
    first, ended = in_a_thread(engine, scripted, stopped)
    second, failed = in_a_thread(engine, scripted, other)
    wait_until(lambda: len(scripted.heard()) == 2, "both were sent")
    stopped.request_stop(Cancelled("enough"))
    first.join(SOON)
    second.join(SOON)
    assert [type(error) for error in ended] == [Cancelled]
    assert failed == []


def test_a_stop_while_texts_are_embedded_ends_the_call(scripted: Scripted, engine: Engine) -> None:
    """The server is left, as with a prompt."""
    assert scripted.embeds is not None
    scripted.play(Scene(end="hang"))
    caller = Caller()

    def stop() -> None:
        wait_until(scripted.heard, "the request is there")
        caller.request_stop(Cancelled("enough"))

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Cancelled):
        engine.embed(
            ToEmbed(("a",)), model=scripted.embeds, remaining_seconds=SOON, stoppable=caller
        )
    thread.join(SOON)
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)
