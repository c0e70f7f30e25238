"""Arguments as JSON and answers as Python types, for both clients."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from pydantic import BaseModel

from local_llm_service.producers.python_types import as_json
from local_llm_service.tasks.extract_parameters import ExtractAnswer
from local_llm_service.tasks.structured_output import StructuredAnswer
from local_llm_service.worker.errors import InvalidOutput

COMMON: dict[str, Any] = {
    "task_id": "1",
    "model": "m",
    "origin": "computed",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    "timings": {
        "queued_seconds": 0,
        "load_seconds": 0,
        "prompt_seconds": 0,
        "generation_seconds": 0,
    },
}


class City(BaseModel):
    name: str


def fly(to: str, day: dt.date) -> None:
    """Flies."""


def test_a_class_becomes_its_schema_and_the_data_its_instance() -> None:
    """All else of the answer stays, and it can still be written as JSON."""
    arguments = {"prompt": "p", "schema": City, "cache": False}
    plain, read = as_json("structured_output", arguments)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["cache"] is False
    assert arguments["schema"] is City
    assert read is not None
    answer = StructuredAnswer.model_validate(
        {**COMMON, "kind": "structured_output", "data": {"name": "Bern"}}
    )
    typed = read(answer)
    assert isinstance(typed, StructuredAnswer)
    assert typed.data == City(name="Bern")
    assert typed.model_dump(mode="json") == answer.model_dump(mode="json")


def test_a_function_becomes_its_schema_and_the_parameters_its_arguments() -> None:
    """They stand beside the plain parameters, and do not go into JSON."""
    plain, read = as_json("extract_parameters", {"user_message": "m", "function_schema": fly})
    assert json.loads(json.dumps(plain)) == plain
    assert read is not None
    parameters = {"to": "Bern", "day": "2026-11-28"}
    answer = ExtractAnswer.model_validate(
        {**COMMON, "kind": "extract_parameters", "parameters": parameters}
    )
    typed = read(answer)
    assert isinstance(typed, ExtractAnswer)
    assert answer.arguments == parameters
    assert typed.arguments == {"to": "Bern", "day": dt.date(2026, 11, 28)}
    assert typed.parameters == parameters
    assert typed.model_dump(mode="json") == answer.model_dump(mode="json")


def extracted(function: str | None, **parameters: Any) -> ExtractAnswer:
    """An answer of this function."""
    fields = {"kind": "extract_parameters", "parameters": parameters, "function": function}
    return ExtractAnswer.model_validate({**COMMON, **fields})


def test_of_several_functions_the_chosen_one_reads_the_parameters() -> None:
    """Python functions and schemas may stand beside each other; None is none of them."""
    book = {"name": "book", "parameters": {"properties": {}}}
    asked = {"user_message": "m", "function_schema": [book, fly]}
    plain, read = as_json("extract_parameters", asked)
    assert [one["name"] for one in plain["function_schema"]] == ["book", "fly"]
    assert json.loads(json.dumps(plain)) == plain
    assert read is not None
    assert read(extracted("fly", day="2026-11-28")).arguments == {"day": dt.date(2026, 11, 28)}
    assert read(extracted("book", day="2026-11-28")).arguments == {"day": "2026-11-28"}
    assert read(extracted(None)).arguments == {}


def test_what_a_message_does_not_say_is_no_argument() -> None:
    """It is missing in the answer; the others are read all the same, or refused."""
    _, read = as_json("extract_parameters", {"user_message": "m", "function_schema": fly})
    assert read is not None
    assert read(extracted("fly", day="2026-11-28")).arguments == {"day": dt.date(2026, 11, 28)}
    with pytest.raises(InvalidOutput, match="day: date"):
        read(extracted("fly", day="tomorrow"))


def test_plain_arguments_go_unchanged() -> None:
    """The kind's request judges them."""
    for kind, arguments in (
        ("structured_output", {"prompt": "p", "schema": {"type": "object"}}),
        ("structured_output", {"prompt": "p"}),
        ("extract_parameters", {"user_message": "m", "function_schema": {"parameters": {}}}),
        ("extract_parameters", {"user_message": "m", "function_schema": City}),
        ("extract_parameters", {"user_message": "m", "function_schema": []}),
        ("extract_parameters", {"user_message": "m", "function_schema": [{}, City, 1]}),
        ("generate", {"prompt": City}),
    ):
        assert as_json(kind, arguments) == (arguments, None)
