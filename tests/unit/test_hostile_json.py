"""Whatever a model writes for JSON, a caller gets an instance of the schema, or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from local_llm_service import tasks
from local_llm_service.tasks.json_answers.asking import MOST_REPAIRS
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import InvalidOutput

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "count": {"type": "integer", "minimum": 1},
        "more": {},
    },
    "required": ["name", "count"],
}
GOOD = '{"name": "Ann", "count": 3}'
FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "order", "parameters": SCHEMA}}
HI = [{"role": "user", "content": "Three for Ann."}]

#: What a model writes, and whether there is an answer in it.
TEXTS: Mapping[str, tuple[str, bool]] = {
    "plain": (GOOD, True),
    "fence": (f"```json\n{GOOD}\n```", True),
    "fence without an end": (f"```json\n{GOOD}", True),
    "prose": (f"Of course! {GOOD} Is there anything else?", True),
    "byte order mark": (f"\ufeff{GOOD}", True),
    "said twice": (f"{GOOD}\n\n{GOOD}", True),
    "big": (GOOD[:-1] + f', "more": "{"x" * 9000}"}}', True),
    "a megabyte": (GOOD[:-1] + f', "more": "{"x" * 1_000_000}"}}', False),  # past its budget
    "two answers": (f'{GOOD} or {{"name": "Bob", "count": 1}}', False),
    "nothing": ("", False),
    "prose alone": ("Ann wants three.", False),
    "cut": (GOOD[:-3], False),
    "a comma too many": ('{"name": "Ann", "count": 3,}', False),
    "Python": ("{'name': 'Ann', 'count': 3}", False),
    "NaN": ('{"name": "Ann", "count": NaN}', False),
    "Infinity": ('{"name": "Ann", "count": 1e999}', False),
    "digits": ('{"name": "Ann", "count": ' + "9" * 10_000 + "}", False),
    "a name twice": ('{"name": "Ann", "count": 0, "count": 3}', False),
    "half a character": ('{"name": "\\ud83d", "count": 3}', False),
    "a control character": ('{"name": "A\nn", "count": 3}', False),
    "wrong type": ('{"name": "Ann", "count": "3"}', False),
    "wrong value": ('{"name": "Ann", "count": 0}', False),
    "too long": ('{"name": "' + "A" * 21 + '", "count": 3}', False),
    "left out": ('{"name": "Ann"}', False),
    "a list of it": (f"[{GOOD}]", False),
    "in a text": (json.dumps(GOOD), False),
    "brackets": ("[" * 50_000, False),
    "objects": ('{"name":' * 50_000, False),
    "deep": (GOOD[:-1] + ', "more": ' + '{"a": ' * 900 + "1" + "}" * 901, False),
    "schema": (json.dumps(SCHEMA), False),
    "null": ("null", False),
}


def asked(kind: str) -> Any:
    """The JSON that a job of a kind answers with."""
    options: dict[str, Any] = {"cache": False}
    if kind == "structured_output":
        return tasks.structured_output.delay("Ann", SCHEMA, **options).get(timeout=20)["data"]
    if kind == "chat":
        answer = tasks.chat.delay(HI, response_format=FORMAT, **options).get(timeout=20)
        return json.loads(answer["message"]["content"])
    answer = tasks.chat.delay(HI, tools=[TOOL], tool_choice="required", **options).get(timeout=20)
    (call,) = answer["message"]["tool_calls"]
    return call["function"]["arguments"]


def outcome(kind: str) -> Any:
    """The same, or the error."""
    try:
        return asked(kind)
    except InvalidOutput as error:
        return error


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("structured_output", list(TEXTS)),
        ("chat", ["prose", "two answers", "cut", "wrong value"]),
        ("call", ["fence", "a name twice", "digits", "left out"]),
    ],
)
def test_invalid_json_is_never_handed_out(local_llm: LocalLLM, kind: str, names: list[str]) -> None:
    """However often the model repeats it; and it is asked three times at most."""
    for name in names:
        text, has_answer = TEXTS[name]
        before = len(local_llm.prompts)
        local_llm.reply(text, times=None)
        found = outcome(kind)
        assert isinstance(found, InvalidOutput) is not has_answer, name
        if has_answer:
            Draft202012Validator(SCHEMA).validate(found)
        else:
            assert "Ann" not in repr(found.args), name
        asks = len(local_llm.prompts) - before
        assert asks == 1 if has_answer else 1 < asks <= 1 + MOST_REPAIRS, name


@pytest.mark.parametrize("kind", ["structured_output", "chat", "call"])
def test_the_second_answer_counts(local_llm: LocalLLM, kind: str) -> None:
    """Wrong, then right, is right; it cost both."""
    for name in ("nothing", "two answers", "deep", "cut", "wrong value"):
        local_llm.reply(TEXTS[name][0]).reply(GOOD)
        assert asked(kind) == {"name": "Ann", "count": 3}, name
    assert local_llm.unused == 0
