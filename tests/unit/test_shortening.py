"""What had no end is asked for again with bounds; each such answer is one of the schema before."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service.tasks.json_answers.shortening import Lengths, lengths, shorter

MOST = Lengths(items=3, members=4, characters=10)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[1, 2, 3, 4", Lengths(4, 0, 0)),
        ('{"a": [1, 2], "b": [[1, 2, 3], []]}', Lengths(3, 2, 1)),
        ('{"text": "a, b, [c] \\" d', Lengths(0, 1, 14)),
        ('prose, with [brackets] and "qu', Lengths(1, 0, 2)),
        ("]]}}", Lengths()),
        ("", Lengths()),
    ],
)
def test_lengths_are_those_of_the_longest(text: str, found: Lengths) -> None:
    """Also where the text has no end."""
    assert lengths(text) == found


def test_quarters_leave_room_for_what_is_usual() -> None:
    """Beside a list that had no end names are as long as they are."""
    assert Lengths(201, 1, 5).quarters() == Lengths(50, 16, 120)
    assert Lengths(2, 100, 900).quarters() == Lengths(8, 25, 225)


@pytest.mark.parametrize(
    ("schema", "bounded"),
    [
        ({"type": "array"}, {"type": "array", "maxItems": 3}),
        ({"type": "array", "maxItems": 2}, {"type": "array", "maxItems": 2}),
        ({"type": "array", "maxItems": 9, "minItems": 5},
         {"type": "array", "maxItems": 5, "minItems": 5}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"], "maxLength": 10}),
        ({"type": "string", "minLength": 20}, {"type": "string", "minLength": 20, "maxLength": 20}),
        ({"type": "object", "required": list("abcdef")},
         {"type": "object", "required": list("abcdef"), "maxProperties": 6}),
        ({"anyOf": [{"type": "string"}], "items": {"type": "string"}},
         {"anyOf": [{"type": "string", "maxLength": 10}],
          "items": {"type": "string", "maxLength": 10}}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}},
         {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "maxItems": 3}}}),
        *(
            (one, one)
            for one in (
                True, None, {}, {"type": "integer"}, {"enum": ["a" * 20]},
                {"type": "string", "pattern": "^a+$"}, {"type": "string", "format": "date-time"},
                {"not": {"type": "string"}}, {"const": {"type": "array"}},
                {"properties": {"type": {"const": "array"}, "items": True}},
            )
        ),
    ],
)  # fmt: skip
def test_bounds_are_added_where_something_may_be_long(schema: Any, bounded: Any) -> None:
    """Never below what the schema demands, and not where a bound would allow more."""
    assert shorter(schema, MOST) == bounded
