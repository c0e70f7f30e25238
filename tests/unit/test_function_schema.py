"""Python functions as function schemas: what a model is shown, and how arguments are read."""

from __future__ import annotations

import datetime as dt
import enum
import functools
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from local_llm_service import tasks
from local_llm_service.producers.function_schema import FunctionSchema, is_function
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest

LIMITS = Limits(max_prompt_chars=20_000, max_messages=1, max_schema_depth=32, max_output_tokens=100)


class Floor(enum.Enum):
    GROUND = "ground"
    TOP = "top"


class Guest(BaseModel):
    name: str


def book_room(
    room: str,
    day: dt.date,
    people: Annotated[int, Field(ge=1)] = 2,
    *,
    floor: Floor = Floor.GROUND,
    guests: list[Guest] | None = None,
    schema: bool = False,
    _copy: object = object(),
) -> bool:
    """Books a room.

    It may be taken.

    Args:
        room: As on the door.
        day: When.

    Returns:
        Whether it worked.
    """
    raise AssertionError("is never called")


class Desk:
    def book(self, day: dt.date) -> None:
        """Books a desk."""

    @classmethod
    def clear(cls, day: dt.date) -> None:
        """Clears desks."""

    @staticmethod
    async def move(day: dt.date) -> None:
        """Moves desks."""


@functools.wraps(book_room)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return book_room(*args, **kwargs)


def test_the_model_is_shown_signature_and_docstring() -> None:
    """Name, summary, types, descriptions, plain defaults, and which are required."""
    schema = FunctionSchema(book_room).schema
    assert (schema["name"], schema["description"]) == ("book_room", "Books a room.")
    parameters = schema["parameters"]
    assert parameters["type"] == "object"
    assert parameters["required"] == ["room", "day"]
    assert parameters["additionalProperties"] is False
    shown = parameters["properties"]
    assert shown["room"] == {"type": "string", "description": "As on the door."}
    assert shown["day"] == {"type": "string", "format": "date", "description": "When."}
    assert shown["people"] == {"type": "integer", "minimum": 1, "default": 2}
    assert set(shown) == {"room", "day", "people", "floor", "guests", "schema", "_copy"}
    assert "default" not in shown["_copy"]


@pytest.mark.parametrize(
    "function",
    [book_room, wrapped, Desk().book, Desk.clear, Desk.move],
    ids=lambda one: one.__name__,
)
def test_the_kind_takes_the_schema(function: Callable[..., Any]) -> None:
    """It is one of the forms that callers write by hand."""
    assert is_function(function)
    schema = FunctionSchema(function).schema
    request: Any = parse(
        tasks.extract_parameters.kind.request, ["m"], {"function_schema": schema}, LIMITS
    )
    assert request.function_schema.parameters == schema["parameters"]
    assert "day" in schema["parameters"]["properties"]


def test_arguments_have_the_functions_types() -> None:
    """What the model left out is left out, so that the function's own default stands."""
    read = FunctionSchema(book_room).read(
        {"room": "A", "day": "2026-11-28", "floor": "top", "guests": [{"name": "Ann"}]}
    )
    assert read == {
        "room": "A",
        "day": dt.date(2026, 11, 28),
        "floor": Floor.TOP,
        "guests": [Guest(name="Ann")],
    }


def test_arguments_that_the_types_refuse_are_invalid_output() -> None:
    """The message names the parameter and no word of the model."""
    with pytest.raises(InvalidOutput, match=r"day: date_from_datetime_parsing") as refused:
        FunctionSchema(book_room).read({"room": "A", "day": "geheim", "geheim": 1})
    assert "geheim" not in repr(refused.value)


def test_a_function_without_parameters_has_an_empty_schema() -> None:
    """It is an object all the same."""

    def now() -> None: ...

    assert FunctionSchema(now).schema == {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def many(*places: int) -> None: ...
def named(**places: int) -> None: ...
def by_position(place: int, /) -> None: ...
def bare(place) -> None: ...  # type: ignore[no-untyped-def]
def unknown(place: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def not_json(ok: int, place: Exception) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (many, "parameter 'places' cannot be given by name"),
        (named, "parameter 'places' cannot be given by name"),
        (by_position, "parameter 'place' cannot be given by name"),
        (bare, "parameter 'place' has no annotation"),
        (unknown, "unknown names 'Nowhere'"),
        (not_json, "parameter 'place' has a type that JSON lacks"),
        (Desk.book, "parameter 'self' has no annotation"),
        (len, "parameter 'obj' cannot be given by name"),
        (max, "no signature|parameter 'args'"),
    ],
)
def test_a_function_without_a_schema_is_refused(function: Any, says: str) -> None:
    """The caller learns which parameter it is, before anything is queued."""
    with pytest.raises(InvalidRequest, match=f"function_schema: .*({says})"):
        FunctionSchema(function)


@pytest.mark.parametrize("other", [{}, None, "book_room", Guest, Desk(), functools.partial(bare)])
def test_what_is_not_a_function_is_left_to_the_request(other: Any) -> None:
    """It takes JSON and refuses the rest, classes too."""
    assert not is_function(other)
