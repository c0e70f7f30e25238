"""JSON that has no end is stopped early, and no JSON that has one is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest

from local_llm_service.worker.engine.json_watch import JsonWatch, longest_text
from local_llm_service.worker.prompt import JsonSchema

ANY: JsonSchema = {"type": "object"}
NAMED: JsonSchema = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "kind": {"enum": ["a", "bc"]}},
}
LONG = str(list(range(500)))


def stopped(pieces: Iterable[str], schema: JsonSchema = ANY) -> tuple[str, int]:
    """What is said to have no end, and after how many characters; "" if the text ends first."""
    watch, characters = JsonWatch(schema), 0
    for piece in pieces:
        characters += len(piece)
        if reason := watch.add(piece):
            return reason, characters
    return "", characters


def endlessly(start: str, *again: str) -> Iterable[str]:
    """A text that begins so and repeats the rest for ever."""
    return itertools.chain([start], itertools.cycle(again))


@pytest.mark.parametrize(
    ("start", "again", "reason", "most"),
    [
        ('{"a": ', [" ", "\n\t"], "white space", 300),
        ('{"a": "', ["the "], "the same words", 600),
        ('{"a": "', ["=\\u0020"], "the same words", 700),
        ('{"a": "', ["It was a dark and stormy night, and the rain fell in torrents. "],
         "the same words", 1000),
        ('{"a": ', ["3", "14"], "a number", 120),
        ('{"a": -', ["0"], "a number", 120),
        ("", ["["], "brackets", 250),
        ("", ['{"a":', " "], "brackets", 2000),
        ('{"a": [', ['{"name": "x"},', " "], "the same items", 4000),
        ('{"a": [', ["0, "], "the same items", 1200),
    ],
)  # fmt: skip
def test_what_has_no_end_is_stopped(start: str, again: list[str], reason: str, most: int) -> None:
    """After a bounded number of characters, however they are cut into pieces."""
    said, characters = stopped(endlessly(start, *again))
    assert said == f"{reason} without end"
    assert characters <= most
    one_by_one = itertools.chain.from_iterable(endlessly(start, *again))
    assert stopped(one_by_one)[0] == f"{reason} without end"


@pytest.mark.parametrize(
    ("text", "is_stopped"),
    [
        ('{"a": 1, "b": 2, "a"', True),
        ('{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "c": "a", "d": ["a", "a"], "b"', True),
        ('{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "c": "a", "d": ["a", "a"]}', False),
        ('[{"a": 1, "b": {}, "a"', True),
        ('{"a\\"": 1, "a": 2, "a\\"', False),
        ('{"a\\"": 1, "a": 2, "a\\""', True),
        ('{"": 1, ""', True),
        (f'{{"{LONG}a": 1, "{LONG}a": 1}}', False),  # so long a name is not compared
    ],
)
def test_a_name_that_stands_twice_is_stopped(text: str, is_stopped: bool) -> None:
    """Such an answer is none, however it goes on; and a small model goes on so for ever."""
    reason = "a name twice in one object" if is_stopped else ""
    assert stopped(text)[0] == stopped([text])[0] == reason


@pytest.mark.parametrize("start", ['{"name": "', '{"name": "Ann", "', '{"kind": "'])
def test_a_text_is_stopped_where_the_schema_bounds_it(start: str) -> None:
    """An engine that takes no notice of the schema writes on and on, and never the same."""
    counting = (f"{number} " for number in itertools.count())
    assert stopped([start, *itertools.islice(counting, 200)], NAMED)[0] == "a text without end"
    assert stopped([start, *itertools.islice(counting, 2000)], ANY)[0] == ""


@pytest.mark.parametrize(
    "value",
    [
        {"name": "A" * 20, "kind": "bc"},
        {"name": "\U0001f600" * 20},
    ],
)
def test_what_the_schema_allows_is_not_stopped(value: Any) -> None:
    """A character may be written as twelve."""
    assert stopped(json.dumps(value), NAMED)[0] == ""


@pytest.mark.parametrize(
    "value",
    [
        {"rows": [{"label": "neutral"}] * 150},
        {"matrix": [[0] * 30] * 5},
        {"line": "-" * 250, "next": "=" * 250},
        {"text": "No. " * 25},
        {"refrain": "Row, row, row your boat, gently down the stream. " * 9},
        {"pi": float("3.141592653589793"), "big": 10**99},
        {"quotes": 'He said: "' + '\\"' * 20},
        {"numbers": list(range(2000))},
        {"indented": [" " * 200, "\n" * 150]},
    ],
)
def test_json_with_an_end_is_not_stopped(value: Any) -> None:
    """Equal items are an answer to many questions."""
    for text in (json.dumps(value), json.dumps(value, indent=4)):
        assert stopped(text)[0] == ""
        assert stopped([text])[0] == ""


def test_prose_around_the_json_is_not_read_as_json() -> None:
    """An engine that takes no notice of `format` writes some, with quotes of its own."""
    prose = f'It is the "name of a person: {", ".join(map(str, range(200)))}'
    texts = [f'{prose}\n```json\n{{"name": "Ann"}}\n```', f'{{"name": "Ann"}}\n{prose}']
    for text in texts:
        assert stopped(text, NAMED) == ("", len(text))


def test_a_large_piece_costs_no_more_than_it_has_characters() -> None:
    """One record of a hostile server may be a megabyte: it is read once."""
    assert stopped(['{"a": "' + "ab c" * 250_000]) == ("the same words without end", 1_000_007)


@pytest.mark.parametrize(
    ("schema", "longest"),
    [
        (NAMED, 20),
        ({"enum": ["abc", 5]}, 3),
        ({"type": "array", "items": {"type": "integer"}}, 0),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "maxLength": 9}}}, 9),
        (True, None),
        ({}, None),
        (ANY, None),
        ({"type": "string"}, None),
        ({"properties": {"a": {"type": ["string", "null"]}}}, None),
        ({"properties": {"a": {"type": "null"}}, "additionalProperties": True}, None),
        ({"anyOf": [{"type": "string", "maxLength": 4}, {"description": "any"}]}, None),
    ],
)
def test_the_longest_text_is_known_only_where_every_text_is_bounded(
    schema: JsonSchema, longest: int | None
) -> None:
    """One that is not could be as long as it likes."""
    assert longest_text(schema) == longest
