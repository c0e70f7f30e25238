"""The JSON Schemas of all models that operations name, under names that people can read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from inspect import getdoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from local_llm_service.producers.http.operations import Operation
from local_llm_service.tasks.request import JobRequest

Json = dict[str, Any]

#: About the options of all kinds; the docstring's first paragraph is for those who write kinds.
_OPTIONS = (getdoc(JobRequest) or "").partition("\n\n")[2]


class _Plain(GenerateJsonSchema):
    """Without a title for each field, which repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


class Models:
    """The JSON Schemas of all models that operations name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        named = dict.fromkeys(pair for one in operations for pair in _models_of(one))
        self._references, whole = models_json_schema(
            list(named), ref_template="#/components/schemas/{model}", schema_generator=_Plain
        )
        self.schemas: Json = whole.get("$defs", {})
        self._shorten()
        for one in operations:
            if one.body is not None and issubclass(one.body, JobRequest):
                self._describe_options(one.body)

    def _shorten(self) -> None:
        """Name models that have a namesake after their room or file, not their whole path."""
        renamed: dict[str, str] = {}
        for name in (one for one in self.schemas if "__" in one):
            *_, room, file, last = name.split("__")
            words = [f"{one.title().replace('_', '')}{last}" for one in (room, file, room + file)]
            taken = {*self.schemas, *renamed.values()}
            renamed[name] = next((one for one in words if one not in taken), name)
        whole = json.dumps([self.schemas, list(self._references.values())])
        for name, shorter in renamed.items():
            whole = whole.replace(f'schemas/{name}"', f'schemas/{shorter}"')
        schemas, references = json.loads(whole)
        self.schemas = {renamed.get(name, name): one for name, one in schemas.items()}
        self._references = dict(zip(self._references, references, strict=True))

    def _describe_options(self, model: type[JobRequest]) -> None:
        """A kind's own words, then those about the options that all kinds share.

        A client's null stands for the default, also where the kind's request has no null.
        """
        schema = self.schemas[self.reference(model, "validation")["$ref"].rpartition("/")[2]]
        said = (getdoc(model), _OPTIONS)
        schema["description"] = "\n\n".join(one for one in said if one)
        for name in schema["properties"].keys() - set(schema.get("required", ())):
            schema["properties"][name] = _or_null(schema["properties"][name])

    def reference(self, model: type[BaseModel], mode: JsonSchemaMode) -> Json:
        """A schema that points to the model's."""
        return dict(self._references[model, mode])

    def properties(self, model: type[BaseModel]) -> Iterator[tuple[str, Json, bool]]:
        """The name, the schema and whether it is required, of each field of what is read."""
        schema = self.reference(model, "validation")
        if reference := schema.get("$ref"):
            schema = self.schemas[reference.rpartition("/")[2]]
        required = set(schema.get("required", ()))
        for name, one in schema.get("properties", {}).items():
            yield name, one, name in required


def _models_of(one: Operation) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    for read in (one.body, one.query):
        if read is not None:
            yield read, "validation"
    for body in one.answers.values():
        for part in body if isinstance(body, tuple) else (body,):
            if isinstance(part, type):
                yield part, "serialization"


def _or_null(schema: Json) -> Json:
    branches = schema.get("anyOf", [schema])
    if {"type": "null"} in branches or {} in branches:
        return schema
    words: Json = {name: schema[name] for name in ("default", "description") if name in schema}
    plain = {name: value for name, value in schema.items() if name not in words}
    return {"anyOf": [*(plain.get("anyOf") or [plain]), {"type": "null"}], **words}
