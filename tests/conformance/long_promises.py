"""Promises that take a real model many seconds; `python -m tests.conformance` runs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from local_llm_service.worker.engine import Engine, EngineDied
from local_llm_service.worker.errors import Cancelled, ServiceError
from local_llm_service.worker.prompt import Completion
from tests.conformance.calls import Caller, ask, prompt
from tests.conformance.real_subjects import EmbeddedOllama, LlamaV1, Real
from tests.conformance.test_stopping import AFTER_SECONDS
from tests.conftest import wait_until

REAL: tuple[Callable[..., Real], ...] = (EmbeddedOllama, LlamaV1)
LONG_WORDS = 1500
#: What a server may still compute of such a prompt, CPU seconds: all of it takes more than four.
READ_SECONDS = 1.5
BOUND_SECONDS = 5.0


@pytest.fixture(params=REAL, ids=lambda one: one.name)
def real_subject(request: pytest.FixtureRequest) -> Iterator[Real]:
    """A real server of the test's own, with room for a long prompt."""
    with ExitStack() as servers:
        yield request.param(servers, room=2048)


@pytest.fixture
def long_engine(real_subject: Real) -> Iterator[Engine]:
    """An engine of it that has looked at its models, as a worker's has."""
    engine = real_subject.engine()
    engine.models()
    yield engine
    engine.close()


def test_a_stop_in_the_middle_of_a_long_prompt_frees_the_server(
    real_subject: Real, long_engine: Engine
) -> None:
    """Alone it would read on to the end."""
    ask(long_engine, real_subject)
    caller = Caller()
    ended: list[ServiceError] = []

    def run() -> None:
        try:
            ask(long_engine, real_subject, prompt("red " * LONG_WORDS), seconds=90,
                stoppable=caller)  # fmt: skip
        except ServiceError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(real_subject.at_work, "the prompt is read")
    caller.request_stop(Cancelled("enough"))
    thread.join(BOUND_SECONDS)
    assert [type(error) for error in ended] == [Cancelled]
    spent = real_subject.cpu_seconds()
    wait_until(lambda: not real_subject.at_work(), "the server has stopped")
    assert real_subject.cpu_seconds() - spent < READ_SECONDS
    wait_until(lambda: long_engine.occupied == 0, "no slot is occupied", BOUND_SECONDS)


@pytest.mark.parametrize("pieces", range(1, 16))
def test_a_stop_at_any_piece_ends_the_generation(
    real_subject: Real, long_engine: Engine, pieces: int
) -> None:
    """And the next answer is the same as before."""
    before = ask(long_engine, real_subject).text
    caller, heard = Caller(), list[str]()

    def sink(piece: str) -> None:
        heard.append(piece)
        if len(heard) == pieces:
            caller.request_stop(Cancelled("enough"))

    with pytest.raises(Cancelled):
        ask(long_engine, real_subject, prompt("Tell a long story of a ship.", max_tokens=400),
            stoppable=caller, on_text=sink)  # fmt: skip
    spent = real_subject.cpu_seconds()
    wait_until(lambda: not real_subject.at_work(), "the server has stopped")
    assert real_subject.cpu_seconds() - spent < AFTER_SECONDS
    assert ask(long_engine, real_subject).text == before


def test_a_killed_server_is_known_as_dead_and_found_again(
    real_subject: Real, long_engine: Engine
) -> None:
    """Its prompt ends at once with the class by which a worker judges prompts; then it is away."""
    heard: list[str] = []

    def sink(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 5:
            threading.Thread(target=real_subject.server.kill).start()

    with pytest.raises(EngineDied):
        ask(long_engine, real_subject, prompt("Tell a long story of a ship.", max_tokens=400),
            on_text=sink)  # fmt: skip
    with pytest.raises(ServiceError) as failure:
        long_engine.version()
    assert failure.value.code == "ollama_unreachable"


def test_answers_side_by_side_do_not_mix(real_subject: Real, long_engine: Engine) -> None:
    """Eight at once at a server with one slot: each is what it is alone."""
    questions = [f"Name {n} colours." for n in range(2, 10)]
    alone = [ask(long_engine, real_subject, prompt(one)).text for one in questions]
    found: dict[str, Completion] = {}

    def run(question: str) -> None:
        found[question] = ask(long_engine, real_subject, prompt(question), seconds=90)

    threads = [threading.Thread(target=run, args=(one,)) for one in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert [found[one].text for one in questions] == alone
