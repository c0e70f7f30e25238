"""The text of an answer, which the command line prints and a chain passes on."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.answer import is_answer, text_of

COMMON = {"task_id": "1", "kind": "x", "origin": "computed", "model": "m"}
KINDS = [getattr(tasks, name).kind for name in tasks.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_names_a_field_of_its_own(kind: Any) -> None:
    """CONTENT names a field of this kind's answer that other kinds do not share."""
    own = kind.answer.model_fields.keys() - COMMON.keys()
    assert kind.answer.CONTENT in own


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": "Hello."}, "Hello."),
        ({"summary": "Short.", "tokens_saved": 3}, "Short."),
        ({"parameters": {"city": "Zürich"}}, '{"city": "Zürich"}'),
        ({"data": None}, "null"),
        ({"data": "a string is JSON too"}, '"a string is JSON too"'),
    ],
)
def test_a_text_is_itself_and_other_content_is_json(fields: dict[str, Any], text: str) -> None:
    """A string from `structured_output` keeps its quotes: its caller asked for JSON."""
    answer = {**COMMON, **fields}
    assert is_answer(answer)
    assert text_of(answer) == text


def test_json_can_be_indented_for_people() -> None:
    """The command line does so."""
    assert text_of({"data": [1]}, indent=2) == "[\n  1\n]"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        ["text"],
        {"text": "no task id"},
        COMMON,
        {**COMMON, "text": 7},
        {**COMMON, "text": None},
    ],
)
def test_other_values_are_not_answers(value: object) -> None:
    """A chain passes them on unchanged, and the next step's own check refuses them."""
    assert not is_answer(value)


def test_a_value_without_content_has_no_text() -> None:
    """The error says so and shows nothing of the value."""
    with pytest.raises(KeyError, match="not an answer") as caught:
        text_of({"secret": "words"})
    assert "words" not in str(caught.value)
