"""The engine over a scripted Ollama: what is its own; tests/conformance has what all promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineTimeout,
    InvalidOutput,
    ModelFailed,
    ModelMissing,
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
from tests.conformance.calls import Caller
from tests.conftest import wait_until
from tests.doubles.ollama import MODIFIED_AT, FakeOllama, Script

MODEL = "fake:1b"
SCHEMA: JsonSchema = {"type": "object", "properties": {"a": {"pattern": "^x$"}}}
#: As recorded in tests/wire/chat_format_bad_pattern.json.
REFUSED = Script(status=400, error="Pattern must start with '^' and end with '$'")


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


def test_a_model_that_hides_where_it_runs_is_none(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """A copy of a cloud model under another name: `keep_local` goes by names."""
    ollama.models = ollama.elsewhere = ("mine:1b", "big:120b-cloud", "ours:cloud")
    ollama.models += (MODEL,)
    engine.version()
    assert [one.name for one in engine.models()] == ["big:120b-cloud", "ours:cloud", MODEL]
    (note,) = engine.notes()
    assert note.startswith("mine:1b is run on its maker's hardware")
    with pytest.raises(ModelMissing, match="its name does not say"):
        engine.complete(Prompt((), 1), model="mine:1b", remaining_seconds=5)
    with pytest.raises(ModelMissing):
        engine.embed(ToEmbed(("a",)), model="mine:1b", remaining_seconds=5)
    assert (ollama.seen, ollama.embedded) == ([], [])


def test_a_server_without_a_list_of_what_is_loaded_tells_its_models(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """No job needs to know what is in memory."""
    ollama.loaded = None
    assert [(one.name, one.loaded) for one in engine.models()] == [(MODEL, None)]
