"""Classes as JSON Schemas: which are taken, what a model is shown, and how instances are read."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from local_llm_service import tasks
from local_llm_service.producers.model_schema import ModelSchema, is_class
from local_llm_service.tasks.json_answers.reading import read_instance
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion

LIMITS = Limits(max_prompt_chars=20_000, max_messages=1, max_schema_depth=32, max_output_tokens=100)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    """An animal that purrs."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    is_good: bool


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    name: str | None = None


class Tree(BaseModel):
    name: Annotated[str, Field(min_length=1, pattern=r"^\w+$")]
    children: list[Tree] = []


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    day: dt.date
    at: dt.datetime
    lasts: dt.timedelta
    price: Decimal
    id: uuid.UUID
    colours: set[Colour]
    by_colour: dict[Colour, int]
    pair: tuple[int, str]


class ByAlias(BaseModel):
    model_config = ConfigDict(extra="forbid")

    one: int = Field(alias="ONE")
    two: int = Field(validation_alias=AliasChoices("zwei", "deux"))


class ByPath(BaseModel):
    one: int = Field(validation_alias=AliasPath("numbers", 0))


class ByNameOnly(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=False)

    one: int = Field(alias="ONE")


class OddDefault(BaseModel):
    thing: object = Field(default=object())
    colour: Colour = Colour.RED


class Cats(RootModel[list[Cat]]):
    pass


class Box(BaseModel, Generic[T]):
    content: T


@dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    name: str


class Pair(NamedTuple):
    left: int
    right: str


CAT = {"kind": "cat", "lives": 9}
STRICT = {
    "day": "2026-11-28",
    "at": "2026-11-28T17:00:00Z",
    "lasts": "PT1H",
    "price": "9.99",
    "id": "12345678-1234-5678-1234-567812345678",
    "colours": ["red"],
    "by_colour": {"blue": 2},
    "pair": [1, "a"],
}
AT = dt.datetime(2026, 11, 28, 17, tzinfo=dt.UTC)

INSTANCES: list[tuple[Any, Any, Any]] = [
    (Cat, CAT, Cat(kind="cat")),
    (Owner, {"pet": CAT}, Owner(pet=Cat(kind="cat"))),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree(name="a", children=[Tree(name="b")])),
    (
        Strict,
        STRICT,
        Strict(
            day=AT.date(),
            at=AT,
            lasts=dt.timedelta(hours=1),
            price=Decimal("9.99"),
            id=uuid.UUID(STRICT["id"]),
            colours={Colour.RED},
            by_colour={Colour.BLUE: 2},
            pair=(1, "a"),
        ),
    ),
    (ByAlias, {"ONE": 1, "zwei": 2}, ByAlias(ONE=1, zwei=2)),
    (OddDefault, {"thing": 1}, OddDefault(thing=1)),
    (Cats, [CAT], Cats([Cat(kind="cat")])),
    (Box[int], {"content": 1}, Box[int](content=1)),
    (Box, {"content": [1]}, Box(content=[1])),
    (Point, {"x": 1}, Point(1)),
    (Movie, {"name": "M"}, {"name": "M"}),
    (Pair, [1, "a"], Pair(1, "a")),
    (Colour, "blue", Colour.BLUE),
    (list[Cat], [CAT], [Cat(kind="cat")]),
    (Cat | Dog, CAT, Cat(kind="cat")),
    (Annotated[int, Field(gt=3)], 4, 4),
]


@pytest.mark.parametrize(
    ("model", "data", "instance"), INSTANCES, ids=[str(one[0]) for one in INSTANCES]
)
def test_a_class_goes_out_as_a_schema_and_comes_back_as_an_instance(
    model: Any, data: Any, instance: Any
) -> None:
    """The request takes its schema, the worker the model's JSON, and the caller gets the class."""
    assert is_class(model)
    of_class = ModelSchema.of(model)
    request: Any = parse(
        tasks.structured_output.kind.request, ["p"], {"schema": of_class.schema}, LIMITS
    )
    written = Completion(json.dumps(data), "m", "stop", 1, 1, 0, 0, 0)
    plain = read_instance(written, request.json_schema)
    read = of_class.read(plain)
    assert read == instance
    assert type(read) is type(instance)


@pytest.mark.parametrize("model", [ByPath, ByNameOnly])
def test_a_class_takes_the_name_that_its_schema_shows(model: Any) -> None:
    """pydantic's schema of some aliases names the field as the class alone would not take it.

    Before 2.11 pydantic cannot be told to take it: then a path as alias is an honest error.
    """
    of_class = ModelSchema.of(model)
    (name,) = of_class.schema["properties"]
    if model is ByPath and "by_name" not in ModelSchema.read.__globals__["_ANY_NAME"]:
        with pytest.raises(InvalidOutput):
            of_class.read({name: 5})
    else:
        assert of_class.read({name: 5}).one == 5


def test_the_model_is_shown_what_the_class_says() -> None:
    """Docstring and descriptions go along; titles that repeat a name only cost tokens."""
    schema = ModelSchema.of(Cat).schema
    assert schema["description"] == "An animal that purrs."
    assert schema["properties"]["lives"] == {"default": 9, "type": "integer"}


def test_a_schema_is_made_without_warnings_and_once() -> None:
    """A default that is not JSON is left out; bulk calls give the same class again and again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = ModelSchema.of(OddDefault).schema
    assert "default" not in schema["properties"]["thing"]
    assert ModelSchema.of(OddDefault) is ModelSchema.of(OddDefault)


class WithCallable(BaseModel):
    call: Callable[[int], int]


class Unfinished(BaseModel):
    other: Missing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("model", [WithCallable, Exception, Unfinished, list[Exception], type])
def test_a_class_without_a_json_schema_is_refused(model: Any) -> None:
    """The caller learns which class it is, before anything is queued."""
    name = getattr(model, "__name__", "")
    with pytest.raises(InvalidRequest, match=f"schema: no JSON Schema can be made of .*{name}"):
        ModelSchema.of(model)


@pytest.mark.parametrize("schema", [{}, True, "Cat", None, CAT, [], 5, Cat(kind="cat")])
def test_what_is_not_a_class_is_left_to_the_request(schema: Any) -> None:
    """It takes JSON Schemas and refuses the rest."""
    assert not is_class(schema)


class Choosy(BaseModel):
    city: str
    by_name: dict[str, int] = {}

    @field_validator("city")
    @classmethod
    def _city(cls, city: str) -> str:
        if city == "custom":
            raise PydanticCustomError("geheim", "geheim {city}", {"city": city})  # type: ignore[misc]
        if city != "Bern":
            raise ValueError(f"{city} is not Bern")
        return city

    @model_validator(mode="after")
    def _whole(self, _: ValidationInfo) -> Choosy:
        if self.by_name.get("a") == 1:
            raise ValueError("geheim")
        return self


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"city": "geheim"}, "city: value_error"),
        ({"city": "custom"}, "city: custom_error"),
        ({"city": "Bern", "by_name": {"geheim": "x"}}, r"by_name\.\*: int_parsing"),
        ({"city": "Bern", "by_name": {"a": 1}}, "Choosy: value_error"),
        ({}, "city: missing"),
        ({"city": 1, "by_name": dict.fromkeys("geheim", "x")}, "and 3 more"),
        ({"city": "\ud800"}, "Choosy: json_invalid"),
    ],
)
def test_an_instance_that_the_class_refuses_is_invalid_output(data: Any, says: str) -> None:
    """The message names places and faults, and no word of the model, also no key of a dict."""
    with pytest.raises(InvalidOutput, match=says) as refused:
        ModelSchema.of(Choosy).read(data)
    assert "geheim" not in repr(refused.value)
    assert refused.value.__suppress_context__


class Faulty(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def _x(cls, x: int) -> int:
        raise KeyError("the caller's own bug")


def test_what_a_validator_raises_beyond_its_verdict_is_the_callers() -> None:
    """A bug of the caller's class is not a fault of the model's answer."""
    with pytest.raises(KeyError):
        ModelSchema.of(Faulty).read({"x": 1})
