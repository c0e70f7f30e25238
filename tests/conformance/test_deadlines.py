"""A call ends when its time is over, unless others still want the answer."""

from __future__ import annotations

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import DeadlineExceeded
from local_llm_service.worker.prompt import ToEmbed
from tests.conformance.calls import Caller, ask
from tests.conformance.subject import Scene, Scripted
from tests.conftest import wait_until


@pytest.mark.parametrize("caller", [None, Caller()], ids=["nobody", "caller"])
def test_the_deadline_ends_the_generation(
    scripted: Scripted, engine: Engine, caller: Caller | None
) -> None:
    """The text so far is handed out, and the server is left."""
    scripted.play(Scene(end="hang"))
    heard: list[str] = []
    with pytest.raises(DeadlineExceeded):
        ask(engine, scripted, seconds=0.3, stoppable=caller, on_text=heard.append)
    assert tuple(heard) == Scene().pieces
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)


def test_the_answer_goes_on_while_others_want_it(scripted: Scripted, engine: Engine) -> None:
    """They are asked how long, as often as their time is over too."""
    scripted.play(Scene(first_seconds=0.3))
    caller = Caller(0.1, 20)
    assert ask(engine, scripted, seconds=0.1, stoppable=caller).text == "".join(Scene().pieces)


def test_others_have_a_deadline_too(scripted: Scripted, engine: Engine) -> None:
    """Theirs is the end."""
    scripted.play(Scene(end="hang"))
    with pytest.raises(DeadlineExceeded):
        ask(engine, scripted, seconds=0.05, stoppable=Caller(0.1, 0.1))
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_nothing_is_sent_when_no_time_is_left(
    scripted: Scripted, engine: Engine, seconds: float
) -> None:
    """A request that nobody can read the answer of costs time, and with some engines money."""
    with pytest.raises(DeadlineExceeded):
        ask(engine, scripted, seconds=seconds)
    engine.version()  # the engine's thread is past the call by now
    assert list(scripted.heard()) == []


def test_the_deadline_holds_for_vectors(scripted: Scripted, engine: Engine) -> None:
    """They come all at once or not at all."""
    assert scripted.embeds is not None
    scripted.play(Scene(end="hang"))
    with pytest.raises(DeadlineExceeded):
        engine.embed(ToEmbed(("a",)), model=scripted.embeds, remaining_seconds=0.2)
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)
