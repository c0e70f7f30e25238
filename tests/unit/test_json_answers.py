"""JSON from a model: an instance of its schema, or an error, whatever the model writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.json_answers.asking import MOST_REPAIRS, ask_for_json, ask_json
from local_llm_service.tasks.json_answers.extraction import NotJson, extracted
from local_llm_service.tasks.json_answers.repair import MOST_SHOWN_CHARS
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import Completion, JsonSchema, Prompt
from tests.doubles.said import Said

SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {"age": {"type": "integer", "maximum": 120}},
    "required": ["age"],
    "additionalProperties": False,
}
PROMPT = Prompt(
    ({"role": "system", "content": "Answer."}, {"role": "user", "content": "How old?"}),
    100,
    schema=SCHEMA,
)
GOOD = '{"age": 7}'


def wrote(text: str, finish_reason: Any = "stop") -> Completion:
    """A model's text, of 20 tokens."""
    return Completion(text, "m", finish_reason, 50, 20, 0, 0, 0)


class Raising(Said):
    """Says what a test has written down; an error among it is raised."""

    def __init__(self, *said: Completion | Exception) -> None:
        self._said = list(said)
        super().__init__()

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        self.prompts.append(prompt)
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def asked(*said: Completion | Exception) -> tuple[Any, Raising]:
    """The value that is found, and what was asked for it."""
    ask = Raising(*said)
    return ask_json(ask, PROMPT, SCHEMA), ask


def failed(*said: Completion | Exception) -> tuple[InvalidOutput, Raising]:
    """The error, and what was asked before it."""
    ask = Raising(*said)
    with pytest.raises(InvalidOutput) as failure:
        ask_json(ask, PROMPT, SCHEMA)
    return failure.value, ask


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\ufeff{GOOD}",
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n\n```json\n{GOOD}\n```\nThe person is 7.",
        f"{GOOD}\n\nNote: that is all {{for now",
        f"{GOOD}\n{GOOD}",
        f"The answer is {GOOD}.",
    ],
)
def test_what_stands_around_the_json_is_cut_away(text: str) -> None:
    """It costs no second generation."""
    value, ask = asked(wrote(text))
    assert value == {"age": 7}
    assert len(ask.prompts) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("Seven.", "Expecting value"),
        ('{"age": 7,}', "Expecting property name"),
        ('{"age": 7', "Expecting ',' delimiter"),
        ('{"age": NaN}', "NaN is not JSON"),
        ('{"age": 1e999}', "too large"),
        ('{"age": ' + "9" * 5000 + "}", "too large"),
        ('{"age": 7, "age": 8}', "twice"),
        ('{"age": 7}\n{"age": 8}', "more than one"),
        ('{"a": {"age": 7}, }', "Expecting property name"),
        ("[" * 100_000, "too deeply"),
        ('["\\ud800"]', "half a character"),
        ('["\ud800"]', "half a character"),
        ("{'age': 7}", "Expecting property name"),
    ],
)
def test_nothing_is_guessed(text: str, reason: str) -> None:
    """A text that could be two values is none, and what is left out stays out."""
    with pytest.raises(NotJson, match=reason):
        extracted(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (GOOD, {"age": 7}),
        (f"{GOOD} and so on and so", {"age": 7}),
        ('"seven"', "seven"),
        ("7", None),
        ("true", None),
        ('{"age": 7', None),
        ('{"age": 7} {"age": 8', None),
    ],
)
def test_of_a_text_that_was_cut_only_a_value_with_its_end_counts(text: str, value: Any) -> None:
    """12 may have been meant as 123; what comes after a closing bracket belongs to nothing."""
    if value is None:
        with pytest.raises(NotJson):
            extracted(text, is_cut=True)
    else:
        assert extracted(text, is_cut=True).value == value


def test_the_model_is_asked_again_with_the_place_and_the_keyword() -> None:
    """It sees its own answer, and what of the schema that broke."""
    value, ask = asked(wrote('{"age": 130}'), wrote(GOOD))
    assert value == {"age": 7}
    *before, own, advice = ask.prompts[1].messages
    assert tuple(before) == PROMPT.messages
    assert own == {"role": "assistant", "content": '{"age": 130}'}
    assert advice["role"] == "user"
    assert all(part in advice["content"] for part in ('"/age"', '"maximum"', "120"))
    assert ask.told == [(1, 2, "repairing")]
    assert ask.spent.completion_tokens == 40


def test_each_prompt_is_the_first_one_with_the_last_flaw() -> None:
    """It does not grow with each try."""
    _, ask = failed(wrote("No."), wrote('{"age": "x"}'), wrote('{"age": 121}'))
    assert len(ask.prompts) == 1 + MOST_REPAIRS
    assert [len(prompt.messages) for prompt in ask.prompts] == [2, 4, 2]
    assert "type" in ask.prompts[2].messages[1]["content"]


def test_the_last_try_is_another_one() -> None:
    """A small model copies its own words, and at temperature 0 says the same again."""
    _, ask = failed(wrote("No."), wrote("No."), wrote("No."))
    first, second, last = ask.prompts
    assert first.sampling == second.sampling
    assert last.sampling.temperature > 0
    assert last.sampling.seed not in (None, first.sampling.seed)
    assert "No." not in str(last.messages)


def test_the_error_holds_the_last_text_but_not_in_its_arguments() -> None:
    """The text is for the dead letter; message and hint go into results and logs."""
    error, _ = failed(wrote("No."), wrote("No."), wrote('{"age": 121, "geheim": 1}'))
    assert error.text == '{"age": 121, "geheim": 1}'
    assert "geheim" not in repr(error) + str(error.args)
    assert error.message == "the model's JSON breaks the schema's 'maximum'"


def test_the_hint_names_what_only_our_check_enforces() -> None:
    """A caller can leave it out, and the grammar keeps the rest."""
    schema: JsonSchema = {"type": "number", "multipleOf": 2, "geheim": 1}
    ask = Said(wrote("3"), again=True)
    with pytest.raises(InvalidOutput) as failure:
        ask_json(ask, PROMPT, schema)
    assert failure.value.hint.endswith("Ollama's grammar does not enforce: multipleOf.")


def test_an_answer_without_end_is_asked_for_again_in_short() -> None:
    """The text is not shown again, and what is long in it is bounded by a quarter."""
    text = '{"age": 7, "tags": ["a"' + ', "b"' * 39
    error, ask = failed(*[wrote(text, "length")] * 3)
    tagged: JsonSchema = {"properties": {"tags": {"type": "array"}}}
    again = Said(wrote(text, "length"), wrote(GOOD))
    ask_json(again, replace(PROMPT, schema=tagged), SCHEMA)
    assert again.prompts[0].schema == tagged
    assert again.prompts[1].schema == {"properties": {"tags": {"type": "array", "maxItems": 10}}}
    assert error.message == "the JSON was cut at 20 tokens (MAX_OUTPUT_TOKENS)"
    said = ask.prompts[1].messages
    assert [one["role"] for one in said] == ["system", "user"]
    assert "20 tokens" in said[1]["content"]
    stopped = InvalidOutput("the model wrote white space without end")
    assert asked(stopped, wrote(GOOD))[0] == {"age": 7}
    assert failed(stopped, stopped, stopped)[0].message == stopped.message


def test_white_space_without_end_bounds_no_value() -> None:
    """Nothing was long: the answer may have all that the schema lets through."""
    blank = InvalidOutput("the model wrote white space without end")
    blank.text = '{"tags": ["Alexander", "Bob"],' + " " * 201
    looped = InvalidOutput("the model wrote the same items without end")
    looped.text = '{"tags": ["Alexander"' + ', "Bob"' * 200
    tagged: JsonSchema = {"properties": {"tags": {"type": "array", "items": {"type": "string"}}}}
    for error, bounded in (blank, False), (looped, True):
        ask = Raising(error, wrote(GOOD))
        kept = ask_for_json(ask, replace(PROMPT, schema=tagged), SCHEMA)
        assert (ask.prompts[1].schema != tagged, kept.is_short) == (bounded, bounded)


def test_who_was_cut_before_is_short() -> None:
    """`finish_reason` "length": the model had more to say; not so what had no end at all."""
    request = parse(tasks.structured_output.kind.request, ["p", SCHEMA], {}, LIMITS)

    def ends_with(*said: Completion | Exception) -> object:
        return tasks.structured_output.kind.work(request, Raising(*said))["finish_reason"]

    assert ends_with(wrote(GOOD, "length")) == "stop"
    assert ends_with(wrote('{"age"', "length"), wrote(GOOD)) == "length"
    assert ends_with(InvalidOutput("white space"), wrote(GOOD)) == "stop"


def test_a_long_answer_is_not_shown_again() -> None:
    """What is wrong would drown in it, and the window would be full."""
    text = json.dumps({"age": "x" * MOST_SHOWN_CHARS})
    _, ask = asked(wrote(text), wrote(GOOD))
    assert [one["role"] for one in ask.prompts[1].messages] == ["system", "user"]
    assert "xx" not in ask.prompts[1].messages[1]["content"]


def test_an_overflow_of_a_repair_is_the_flaw_before_it() -> None:
    """The caller's own prompt did fit. Where it does not, he is told so."""
    error, _ = failed(wrote('{"age": 121}'), ContextOverflow("too long"))
    assert error.message == "the model's JSON breaks the schema's 'maximum'"
    with pytest.raises(ContextOverflow):
        asked(ContextOverflow("too long"))


LIMITS = Limits(max_prompt_chars=9999, max_messages=9, max_schema_depth=16, max_output_tokens=99)
TOOL = {"type": "function", "function": {"name": "old", "parameters": SCHEMA}}


def chatted(*said: Completion | Exception, **options: Any) -> tuple[dict[str, Any], Raising]:
    """The message of a chat, and what was asked for it."""
    arguments = {"messages": [{"role": "user", "content": "hi"}], **options}
    request = parse(tasks.chat.kind.request, [], arguments, LIMITS)
    ask = Raising(*said)
    message: Any = tasks.chat.kind.work(request, ask)["message"]
    return message, ask


def test_a_chat_in_json_is_asked_again_too() -> None:
    """And its text is the JSON alone."""
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    message, ask = chatted(wrote('{"age": 500}'), wrote(f"Here: {GOOD} ok"), response_format=form)
    assert message["content"] == GOOD
    assert len(ask.prompts) == 2


def test_a_forced_call_is_asked_again() -> None:
    """With wrong arguments, and with a name that is no function's."""
    other = {"type": "function", "function": {"name": "new"}}
    message, _ = chatted(wrote('{"age": 500}'), wrote(GOOD), tools=[TOOL], tool_choice="required")
    assert message["tool_calls"][0]["function"] == {"name": "old", "arguments": {"age": 7}}
    called = json.dumps({"name": "sing", "arguments": {}})
    right = json.dumps({"name": "old", "arguments": {"age": 7}})
    message, ask = chatted(wrote(called), wrote(right), tools=[TOOL, other], tool_choice="required")
    assert message["tool_calls"][0]["function"]["name"] == "old"
    assert '["old", "new"]' in ask.prompts[1].messages[-1]["content"]


def test_a_chat_in_plain_words_is_never_asked_for_json() -> None:
    """Text that was stopped is an error, and a call is asked for again as a call."""
    with pytest.raises(InvalidOutput, match="repeated"):
        chatted(InvalidOutput("the model repeated itself"), wrote(GOOD))
    call = {"function": {"name": "old", "arguments": {"age": 500}}}
    wrong = Completion("", "m", "stop", 50, 20, 0, 0, 0, tool_calls=(call,))  # type: ignore[arg-type]
    _, ask = chatted(wrong, wrong, wrote("I do not know."), tools=[TOOL])
    assert "Make the call again." in ask.prompts[2].messages[-1]["content"]
    assert not any("JSON" in one["content"] for one in ask.prompts[2].messages)


def test_a_wrong_call_is_answered_in_the_tools_own_turn() -> None:
    """So the model reads it as any failure of a tool."""
    wrong = Completion(
        "Hm.", "m", "stop", 50, 20, 0, 0, 0,
        tool_calls=({"function": {"name": "old", "arguments": {"age": 500}}},),
    )  # fmt: skip
    message, ask = chatted(wrong, wrote("I do not know."), tools=[TOOL])
    assert message == {"role": "assistant", "content": "I do not know."}
    *_, call, result = ask.prompts[1].messages
    assert call["tool_calls"] == list(wrong.tool_calls)
    assert (result["role"], result["tool_name"]) == ("tool", "old")
    assert "maximum" in result["content"]
