"""The engine over a scripted Ollama: how a call ends, and which text its sink has by then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineTimeout,
    InternalError,
    InvalidOutput,
    ModelFailed,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.prompt import (
    Completion,
    JsonSchema,
    Message,
    Model,
    ModelFacts,
    Prompt,
    ToEmbed,
)
from local_llm_service.worker.settings import Settings
from tests.conftest import wait_until
from tests.doubles.ollama import MODIFIED_AT, FakeOllama, Script

MODEL = "fake:1b"
SCHEMA: JsonSchema = {"type": "object", "properties": {"a": {"pattern": "^x$"}}}
#: As recorded in tests/wire/chat_format_bad_pattern.json.
REFUSED = Script(status=400, error="Pattern must start with '^' and end with '$'")


class Caller:
    """A caller that may stop its generation; `others_seconds` is how long others still wait."""

    def __init__(self, *others_seconds: float) -> None:
        self.reason: ServiceError | None = None
        self.stops: list[Callable[[], None] | None] = []
        self._others = iter(others_seconds)

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Keep the stop; call it at once if it was already requested."""
        self.stops.append(stop)
        if stop is not None and self.reason is not None:
            stop()

    def request_stop(self, reason: ServiceError) -> None:
        """Stop the running generation."""
        self.reason = reason
        stop = self.stops[-1] if self.stops else None
        if stop is not None:
            stop()

    def wanted_seconds(self) -> float:
        """The next value of `others_seconds`, then 0."""
        return next(self._others, 0.0)


@pytest.fixture
def engine(ollama: FakeOllama) -> Iterator[OllamaEngine]:
    """An engine that asks the scripted Ollama."""
    made = OllamaEngine(Settings(ollama_host=ollama.host, model_name=MODEL))
    yield made
    made.close()


def ask(
    engine: OllamaEngine, *, schema: JsonSchema | None = None, seconds: float = 20, **options: Any
) -> Completion:
    """Run one prompt to its end."""
    prompt = Prompt(({"role": "user", "content": "x"},), 100, schema=schema)
    return engine.complete(prompt, model=MODEL, remaining_seconds=seconds, **options)


def formats(ollama: FakeOllama) -> list[object]:
    """The `format` of each request that the server saw."""
    return [seen.body.get("format") for seen in ollama.seen]


def test_vectors_that_do_not_come_in_time_end_the_call(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """By the caller's own time, or by FIRST_TOKEN_SECONDS; the slot then waits for Ollama."""
    ollama.respond_to_texts = lambda body: (
        Script() if body["input"] == ["Hi"] else Script(end="hang")
    )
    with pytest.raises(DeadlineExceeded):
        engine.embed(ToEmbed(("a",)), model=MODEL, remaining_seconds=0.1)
    hasty = OllamaEngine(
        Settings(ollama_host=ollama.host, model_name=MODEL, first_token_seconds=0.1)
    )
    try:
        with pytest.raises(EngineTimeout, match="no vectors within"):
            hasty.embed(ToEmbed(("a",)), model=MODEL, remaining_seconds=20)
        wait_until(lambda: hasty.occupied == 0, "Ollama has answered another text")
    finally:
        hasty.close()
    ollama.respond_to_texts = lambda _: Script(end="cut")
    with pytest.raises(EngineDied):
        engine.embed(ToEmbed(("a",)), model=MODEL, remaining_seconds=20)
    caller = Caller()
    caller.request_stop(Cancelled("stop"))
    with pytest.raises(Cancelled):
        engine.embed(ToEmbed(("a",)), model=MODEL, remaining_seconds=20, stoppable=caller)


def test_the_wait_for_a_call_is_that_for_a_first_token(
    ollama: FakeOllama,
) -> None:
    """While a model writes a call, Ollama says nothing (chat_tools_forced_stream)."""
    engine = OllamaEngine(
        Settings(ollama_host=ollama.host, model_name=MODEL, next_token_seconds=0.05)
    )
    ollama.respond = lambda _: Script(chunks=("a", "b"), pause_seconds=0.3)
    messages: tuple[Message, ...] = ({"role": "user", "content": "x"},)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    try:
        with pytest.raises(EngineTimeout):
            engine.complete(Prompt(messages, 100), model=MODEL, remaining_seconds=20)
        with_tools = Prompt(messages, 100, tools=(tool,))
        assert engine.complete(with_tools, model=MODEL, remaining_seconds=20).text == "ab"
    finally:
        engine.close()


def test_the_sink_gets_text_while_the_answer_is_under_way(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The engine's thread passes on each piece at once, in order; together they are the answer."""
    ollama.respond = lambda _: Script(chunks=("One", ", two", ", three"), pause_seconds=0.1)
    heard: list[tuple[float, str, str]] = []

    def sink(piece: str) -> None:
        heard.append((time.monotonic(), piece, threading.current_thread().name))

    completion = ask(engine, on_text=sink)
    assert [piece for _, piece, _ in heard] == ["One", ", two", ", three"]
    assert completion.text == "One, two, three"
    assert {thread for *_, thread in heard} == {"engine"}
    assert heard[-1][0] - heard[0][0] > 0.1  # not all at the end


@pytest.mark.parametrize(
    ("end", "failure"), [("cut", StreamBroken), ("silent", StreamBroken), ("error", StreamBroken)]
)
def test_the_sink_of_a_broken_answer_has_the_text_before_the_break(
    ollama: FakeOllama, engine: OllamaEngine, end: str, failure: type[ServiceError]
) -> None:
    """The failure says how the answer ended; no text is taken back and none is repeated."""
    ollama.respond = lambda _: Script(end=end)
    heard: list[str] = []
    with pytest.raises(failure):
        ask(engine, on_text=heard.append)
    assert heard == ["Hello", "."]


def test_a_sink_that_raises_costs_neither_the_answer_nor_the_engine(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """Other callers may wait for this answer, and every slot uses this loop."""

    def broken(_: str) -> None:
        raise SystemExit(1)

    assert ask(engine, on_text=broken).text == "Hello."
    heard: list[str] = []
    assert ask(engine, on_text=heard.append).text == "Hello."
    assert heard == ["Hello", "."]


def test_a_refused_format_is_replaced_and_the_sink_gets_no_text_twice(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The engine asks for the strict schema, then its bare type, then no format: Ollama refuses
    before the first token."""
    ollama.respond = lambda body: REFUSED if "format" in body else Script()
    heard: list[str] = []
    assert ask(engine, schema=SCHEMA, on_text=heard.append).text == "Hello."
    assert formats(ollama) == [SCHEMA, {"type": "object"}, None]
    assert heard == ["Hello", "."]


def test_an_error_line_about_a_grammar_does_not_start_the_answer_again(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The sink already has text, so the stream is broken, whatever the error line says."""
    ollama.respond = lambda _: Script(end="error", error="failed to parse grammar")
    heard: list[str] = []
    with pytest.raises(StreamBroken):
        ask(engine, schema=SCHEMA, on_text=heard.append)
    assert formats(ollama) == [SCHEMA]
    assert heard == ["Hello", "."]


def test_a_refusal_without_any_format_is_a_failure_of_the_model(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """There is no looser request to try."""
    ollama.respond = lambda _: REFUSED
    with pytest.raises(ModelFailed):
        ask(engine, schema=SCHEMA)
    assert len(ollama.seen) == 3


def test_endless_white_space_stops_the_generation_after_the_sink_got_it(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The engine closes the connection early; the sink has the text up to that point."""
    ollama.respond = lambda _: Script(chunks=("{", *[" "] * 300), end="hang")
    heard: list[str] = []
    with pytest.raises(InvalidOutput):
        ask(engine, schema=SCHEMA, on_text=heard.append)
    assert "".join(heard).rstrip() == "{"
    wait_until(lambda: ollama.seen[0].closed_at, "the engine closed the connection")


def test_a_stop_ends_the_generation_with_its_reason(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The stream is closed, and the sink gets no text once the call has ended.

    Many pieces have arrived by then, and the engine would read them before closing the stream.
    """
    ollama.respond = lambda _: Script(chunks=("x",) * 500, end="hang")
    caller, heard = Caller(), list[str]()

    def sink(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 3:
            caller.request_stop(Cancelled("enough"))

    with pytest.raises(Cancelled, match="enough"):
        ask(engine, stoppable=caller, on_text=sink)
    at_the_end = len(heard)
    wait_until(lambda: ollama.seen[0].closed_at, "the engine closed the connection")
    assert len(heard) == at_the_end
    assert caller.stops[-1] is None


def test_a_stop_before_the_call_sends_no_request(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """The job was cancelled after a worker took it and before it ran."""
    caller = Caller()
    caller.reason = Cancelled("too late")
    with pytest.raises(Cancelled, match="too late"):
        ask(engine, stoppable=caller)
    assert engine.version() == "0.33.0"  # the loop is past the call by now
    assert ollama.seen == []


def test_the_deadline_ends_the_generation(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """No caller waits longer: the stream is closed, and the sink has the text so far."""
    ollama.respond = lambda _: Script(end="hang")
    heard: list[str] = []
    with pytest.raises(DeadlineExceeded):
        ask(engine, seconds=0.3, stoppable=Caller(), on_text=heard.append)
    assert heard == ["Hello", "."]
    wait_until(lambda: ollama.seen[0].closed_at, "the engine closed the connection")


def test_the_answer_goes_on_while_others_want_it(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """The caller's own time is over, but the time of its waiters still counts."""
    ollama.respond = lambda _: Script(first_seconds=0.4)
    assert ask(engine, seconds=0.1, stoppable=Caller(0.1, 20)).text == "Hello."


def test_closing_the_engine_ends_the_calls_that_still_run(ollama: FakeOllama) -> None:
    """No slot waits for a loop that is gone."""
    engine = OllamaEngine(Settings(ollama_host=ollama.host, model_name=MODEL))
    ollama.respond = lambda _: Script(end="hang")
    ended: list[BaseException] = []

    def run() -> None:
        with pytest.raises(InternalError) as failure:
            ask(engine)
        ended.append(failure.value)

    slot = threading.Thread(target=run)
    slot.start()
    wait_until(lambda: ollama.seen, "the request was sent")
    engine.close()
    slot.join(10)
    assert [str(error) for error in ended] == ["the engine was closed while a job ran"]
    wait_until(lambda: ollama.seen[0].closed_at, "the engine closed the connection")


def test_the_engine_tells_version_and_models(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """The engine returns both as values of ours."""
    assert engine.version() == "0.33.0"
    ollama.loaded = (MODEL,)
    (model,) = engine.models()
    facts = ModelFacts(
        context_tokens=ollama.trained,
        architecture="fake",
        parameter_count=1_000_000_000,
        details={"format": "gguf", "family": "fake", "parameter_size": "1B"},
        capabilities=["completion"],
    )
    expected = Model(MODEL, ollama.digest, 98_362_432, ollama.trained, MODIFIED_AT, facts)
    assert replace(model, loaded=None) == expected
    assert model.loaded is not None
    assert model.loaded.context_tokens == 4096


def test_a_server_without_a_list_of_what_is_loaded_tells_its_models(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """No job needs to know what is in memory."""
    ollama.loaded = None
    assert [(one.name, one.loaded) for one in engine.models()] == [(MODEL, None)]


def test_a_server_that_is_away_is_unreachable(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """All three calls raise the same class."""
    ollama.stop()
    try:
        for call in (engine.version, engine.models, lambda: ask(engine)):
            with pytest.raises(OllamaUnreachable):
                call()
    finally:
        ollama.start()
