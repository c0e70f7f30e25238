"""What an engine promises it does; of what it does not promise nothing is taken for granted."""

from __future__ import annotations

import json
import math

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ContextOverflow, ServiceError
from local_llm_service.worker.prompt import JsonSchema, ToEmbed, Tool
from tests.conformance.calls import SOON, ask, prompt
from tests.conformance.subject import Scene, Scripted, Subject

CITY: JsonSchema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Tool = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": CITY},
}


def test_a_grammar_holds_the_answer_to_its_schema(subject: Subject, engine: Engine) -> None:
    """A model that would write something else writes JSON of the schema."""
    if isinstance(subject, Scripted):
        subject.play(Scene(pieces=('{"ci', 'ty": ', '"Oslo"}')))
    assert engine.capabilities.grammar
    text = ask(engine, subject, prompt("A city?", max_tokens=80, schema=CITY)).text
    assert list(json.loads(text)) == ["city"]
    if isinstance(subject, Scripted):
        assert "maxLength" in json.dumps(subject.heard()[-1].body)


def test_a_schema_without_a_grammar_is_not_sent(scripted: Scripted, engine: Engine) -> None:
    """Some models write better without."""
    scripted.play(Scene(pieces=('{"city": "Oslo"}',)))
    ask(engine, scripted, prompt("A city?", schema=CITY, grammar=False))
    assert "maxLength" not in json.dumps(scripted.heard()[-1].body)


def test_a_call_comes_as_the_model_made_it(scripted: Scripted, engine: Engine) -> None:
    """Its arguments are an object; text may come beside it."""
    assert engine.capabilities.tools
    calls = (("weather", {"city": "Köln"}), ("weather", {"city": "Oslo", "days": [1, {}]}))
    scripted.play(Scene(pieces=("Let me ", "see."), calls=calls))
    completion = ask(engine, scripted, prompt("Weather?", tools=(WEATHER,)))
    assert completion.text == "Let me see."
    made = [
        (one["function"]["name"], one["function"]["arguments"]) for one in completion.tool_calls
    ]
    assert made == list(calls)
    assert completion.finish_reason == "stop"
    assert "Tells the weather." in json.dumps(scripted.heard()[-1].body)


def test_a_call_alone_is_an_answer(scripted: Scripted, engine: Engine) -> None:
    """The sink hears nothing of it."""
    scripted.play(Scene(pieces=(), calls=(("weather", {}),), completion_tokens=9))
    heard: list[str] = []
    completion = ask(engine, scripted, prompt("Weather?", tools=(WEATHER,)), on_text=heard.append)
    assert (completion.text, heard) == ("", [])
    assert completion.tool_calls == ({"function": {"name": "weather", "arguments": {}}},)


def test_tools_may_be_left_unused(subject: Subject, engine: Engine) -> None:
    """The model answers in words, or calls what there is."""
    if isinstance(subject, Scripted):
        subject.play(Scene())
    completion = ask(engine, subject, prompt("Say hello.", tools=(WEATHER,)))
    assert completion.text or completion.tool_calls
    assert {one["function"]["name"] for one in completion.tool_calls} <= {"weather"}


def test_each_token_has_its_probability(subject: Subject, engine: Engine) -> None:
    """Together the tokens are the text; nobody who did not ask gets them."""
    if isinstance(subject, Scripted):
        subject.play(Scene(pieces=("a", "b", "c"), logprobs=(-0.5, -1.0, -2.5)))
    assert engine.capabilities.logprobs
    completion = ask(engine, subject, prompt(max_tokens=6, top_logprobs=1))
    assert "".join(one["token"] for one in completion.logprobs) == completion.text
    assert all(one["logprob"] <= 0 for one in completion.logprobs)
    assert all(bytes(one["bytes"]).decode() == one["token"] for one in completion.logprobs)
    alone = ask(engine, subject, prompt(max_tokens=6, top_logprobs=0))
    assert "".join(one["token"] for one in alone.logprobs) == alone.text
    assert not any(one.get("top_logprobs") for one in alone.logprobs)
    assert ask(engine, subject, prompt(max_tokens=6)).logprobs == ()


def test_each_text_has_its_vector(subject: Subject, engine: Engine) -> None:
    """In order, all of one length, and alike for the same text; a model without says so."""
    model = subject.embeds
    if model is None:
        with pytest.raises(ServiceError):
            engine.embed(ToEmbed(("a",)), model=subject.model, remaining_seconds=SOON)
        return
    assert engine.capabilities.embeddings
    texts = ("The cat sleeps.", "Taxes rise.", "The cat sleeps.")
    completion = engine.embed(ToEmbed(texts), model=model, remaining_seconds=SOON)
    first, second, third = completion.vectors
    assert len(first) == len(second) == len(third) > 1
    assert math.dist(first, third) < 1e-3 < math.dist(first, second)
    assert completion.prompt_tokens > 0
    assert completion.text == ""


def test_a_text_that_is_too_long_has_no_vector(subject: Subject, engine: Engine) -> None:
    """It is refused, not cut."""
    if subject.embeds is None:
        return
    if isinstance(subject, Scripted):
        subject.play(Scene(fault="too_long"))
    with pytest.raises(ContextOverflow):
        engine.embed(ToEmbed(("word " * 3000,)), model=subject.embeds, remaining_seconds=SOON)


def test_the_text_ends_before_a_stop_sequence(subject: Subject, engine: Engine) -> None:
    """The server is told of it, and what ends so has ended by itself."""
    whole = ask(engine, subject).text
    mark = whole[len(whole) // 2]
    if isinstance(subject, Scripted):
        ask(engine, subject, prompt(stop=("@@",)))
        assert "@@" in json.dumps(subject.heard()[-1].body)
        return
    completion = ask(engine, subject, prompt(stop=(mark,)))
    assert completion.text == whole[: whole.index(mark)]
    assert completion.finish_reason == "stop"


def test_sampling_is_sent(scripted: Scripted, engine: Engine) -> None:
    """A temperature and a seed of the caller's reach the server."""
    from local_llm_service.worker.prompt import Sampling

    ask(engine, scripted, prompt(sampling=Sampling(temperature=0.625, seed=77)))
    sent = json.dumps(scripted.heard()[-1].body)
    assert "0.625" in sent
    assert "77" in sent
