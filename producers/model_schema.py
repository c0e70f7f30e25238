"""A class as a JSON Schema, and its instances: what `structured_output(prompt, MyModel)` needs.

Any class of which pydantic can make a schema will do: its own models, dataclasses, a TypedDict, an
enum, `list[MyModel]`. The message of a job holds plain JSON; only the caller's process knows the
class.
"""

from __future__ import annotations

import inspect
import json
import typing
from functools import lru_cache
from typing import Any, Generic, TypeGuard, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError, core_schema

from local_llm_service.worker.errors import InvalidOutput, InvalidRequest

T = TypeVar("T")

#: pydantic's own words for what can be wrong with a value. Others are made up by validators.
_KNOWN_FAULTS = frozenset(typing.get_args(core_schema.ErrorType))
#: A schema names a field by one of its names, also where the class takes only another; since 2.11
#: pydantic can be told to take both.
_ANY_NAME: dict[str, Any] = (
    {"by_alias": True, "by_name": True}
    if "by_name" in inspect.signature(TypeAdapter.validate_json).parameters
    else {}
)
_MOST_FAULTS = 3


class _Schema(GenerateJsonSchema):
    """Without titles that repeat a field's name, which would cost tokens of every prompt."""

    #: A default that is not JSON is left out.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def field_title_should_be_set(self, schema: Any) -> bool:
        """See GenerateJsonSchema."""
        return False


class ModelSchema(Generic[T]):
    """The JSON Schema of a class: `schema`. `read` makes an instance of what a model wrote.

    Raises InvalidRequest if pydantic can make no JSON Schema of the class.
    """

    def __init__(self, model: Any) -> None:
        self._name = getattr(model, "__name__", None) or str(model)
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(model)
            self.schema = self._adapter.json_schema(schema_generator=_Schema)
        except (PydanticUserError, SchemaError, NameError, TypeError, ValueError) as error:
            why = getattr(error, "code", None) or type(error).__name__
            raise InvalidRequest(
                f"schema: no JSON Schema can be made of {self._name} ({why})",
                "Give a pydantic model, a dataclass or a TypedDict of types that JSON has, or a "
                "JSON Schema.",
            ) from error

    @classmethod
    def of(cls, model: Any) -> ModelSchema[Any]:
        """The schema of a class, made once for each of the last hundred classes."""
        try:
            return _made(model)
        except TypeError:  # its annotations cannot be hashed
            return cls(model)

    def read(self, data: Any) -> T:
        """The instance that plain JSON data stands for.

        Raises InvalidOutput if the class refuses it: a validator can ask for more than a JSON
        Schema can say. What a validator of its own raises, other than ValueError and
        AssertionError, is not caught.
        """
        try:
            # As JSON, so that strict classes take the text of a date, too.
            return self._adapter.validate_json(json.dumps(data), **_ANY_NAME)
        except ValidationError as error:
            raise InvalidOutput(
                f"the model's JSON is no valid {self._name}: {self._faults(error)}",
                "Ask again, or read it as plain data: client.job(id).result().",
            ) from None

    def _faults(self, error: ValidationError) -> str:
        """Places and kinds of what is wrong, without a word of the value.

        A key of a dict is the model's word, so a place names only what the schema names.
        """
        names = _property_names(self.schema)
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        said = []
        for problem in problems[:_MOST_FAULTS]:
            steps = [
                str(step) if isinstance(step, int) or step in names else "*"
                for step in problem["loc"]
            ]
            fault = problem["type"] if problem["type"] in _KNOWN_FAULTS else "custom_error"
            said.append(f"{'.'.join(steps)}: {fault}" if steps else fault)
        more = len(problems) - len(said)
        return "; ".join(said) + (f"; and {more} more" if more else "")


@lru_cache(maxsize=100)
def _made(model: Any) -> ModelSchema[Any]:
    return ModelSchema(model)


def is_class(schema: object) -> TypeGuard[Any]:
    """Whether a schema is given as a class, or as a type made of classes, and not as plain JSON."""
    return isinstance(schema, type) or typing.get_origin(schema) is not None


def _property_names(schema: Any) -> set[str]:
    """The names of all properties that a schema mentions."""
    if isinstance(schema, list):
        return set().union(*map(_property_names, schema))
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    names = set(own) if isinstance(own, dict) else set()
    return names.union(*map(_property_names, schema.values()))
