"""A server that goes silent is left, with an error that may be tried again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import EngineTimeout, ServiceError
from local_llm_service.worker.prompt import ToEmbed
from tests.conformance.calls import SOON, ask
from tests.conformance.conftest import MakeEngine
from tests.conformance.subject import Scene, Scripted
from tests.conftest import wait_until


def test_no_first_token_in_time(scripted: Scripted, make_engine: MakeEngine) -> None:
    """Loading and prompt count for FIRST_TOKEN_SECONDS; the server is left."""
    scripted.play(Scene(pieces=(), end="hang"))
    with pytest.raises(EngineTimeout) as failure:
        ask(make_engine(first_token_seconds=0.1), scripted)
    assert failure.value.retryable
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)


def test_no_next_token_in_time(scripted: Scripted, make_engine: MakeEngine) -> None:
    """The text so far is handed out; the server is left."""
    scripted.play(Scene(end="hang"))
    heard: list[str] = []
    with pytest.raises(EngineTimeout):
        ask(make_engine(next_token_seconds=0.1), scripted, on_text=heard.append)
    assert tuple(heard) == Scene().pieces
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)


def test_a_long_prompt_is_not_held_to_the_time_of_a_token(
    scripted: Scripted, make_engine: MakeEngine
) -> None:
    """NEXT_TOKEN_SECONDS begins with the first token."""
    scripted.play(Scene(first_seconds=0.4))
    engine = make_engine(next_token_seconds=0.2)
    assert ask(engine, scripted).text == "".join(Scene().pieces)


def test_the_time_of_a_token_begins_anew_with_each(
    scripted: Scripted, make_engine: MakeEngine
) -> None:
    """A slow answer of many tokens is an answer."""
    scripted.play(Scene(pieces=("a",) * 8, pause_seconds=0.06))
    assert ask(make_engine(next_token_seconds=0.4), scripted).text == "a" * 8


def test_no_vectors_in_time(scripted: Scripted, make_engine: MakeEngine) -> None:
    """FIRST_TOKEN_SECONDS is their time."""
    assert scripted.embeds is not None
    scripted.play(Scene(end="hang"))
    engine = make_engine(first_token_seconds=0.1)
    with pytest.raises(EngineTimeout):
        engine.embed(ToEmbed(("a",)), model=scripted.embeds, remaining_seconds=SOON)
    wait_until(lambda: scripted.heard()[0].closed_at, "the engine has hung up", 5)


@pytest.fixture
def silent(scripted: Scripted) -> Iterator[None]:
    """In the server's place, one that takes connections and never says a word."""
    scripted.stop()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", scripted.port))
        listening.listen()
        yield
    scripted.start()


@pytest.mark.usefixtures("silent")
def test_questions_about_a_silent_server_end_soon(scripted: Scripted, engine: Engine) -> None:
    """Each within 3 s, with an error of ours where no answer is known: presence asks them."""
    questions: tuple[Callable[[], object], ...] = (
        engine.version,
        engine.models,
        lambda: engine.context_tokens(scripted.model),
    )
    ended: list[str] = []

    def ask_one(question: Callable[[], object]) -> None:
        try:
            question()
            ended.append("known")
        except ServiceError as error:
            ended.append(error.code)

    threads = [threading.Thread(target=ask_one, args=(one,)) for one in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6)
    assert len(ended) == 3
    assert ended.count("ollama_unreachable") >= 2
