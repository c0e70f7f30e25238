"""`response_format`: whether a chat is answered with text, with any JSON object, or by a schema."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from local_llm_service.tasks.conversation import unicode_text
from local_llm_service.tasks.json_schema import check_schema
from local_llm_service.worker.prompt import JsonSchema

ANY_OBJECT: JsonSchema = {"type": "object"}

JSON_ONLY = "Answer with JSON only, one JSON object."
BY_SCHEMA = "Answer with JSON only, an instance of this JSON Schema{described}: {schema}"


def _response_format(value: Any, info: ValidationInfo) -> Any:
    """OpenAI's object. What does not change the answer (`name`, `strict`) is left out."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(value, dict) and value.keys() - {"type", "json_schema"}:
        # Other servers take {"type": "json_object", "schema": …}: without it the answer is another.
        raise ValueError('may hold "type" and "json_schema" only')
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema":
        raise ValueError(
            '"type" must be "text", "json_object" or "json_schema", with '
            '{"json_schema": {"schema": …}}'
        )
    given = value.get("json_schema")
    if not isinstance(given, dict) or "schema" not in given:
        raise ValueError('json_schema: must be an object with "schema"')
    if given.keys() - {"name", "description", "schema", "strict"}:
        raise ValueError('json_schema: may hold "name", "description", "schema" and "strict" only')
    if not isinstance(given.get("name"), str | None):
        raise ValueError("json_schema.name: must be a text")
    if not isinstance(given.get("strict"), bool | None):
        raise ValueError("json_schema.strict: must be true or false")
    description = given.get("description")
    if not isinstance(description, str | None):
        raise ValueError("json_schema.description: must be a text")
    schema: dict[str, object] = {"schema": check_schema(given["schema"], info)}
    if description:
        schema["description"] = unicode_text(description)
    return {"type": "json_schema", "json_schema": schema}


#: None for text, else OpenAI's object.
ResponseFormat = Annotated[Any, AfterValidator(_response_format)]


def schema_of(response_format: Any) -> JsonSchema | None:
    """The schema that the answer has to keep; None for free text."""
    if response_format is None:
        return None
    if response_format["type"] == "json_object":
        return ANY_OBJECT
    schema: JsonSchema = response_format["json_schema"]["schema"]
    return schema


def format_instruction(response_format: Any) -> str:
    """What the model is told of the form of its answer."""
    if response_format["type"] == "json_object":
        return JSON_ONLY
    asked = response_format["json_schema"]
    description = asked.get("description")
    return BY_SCHEMA.format(
        described=f" ({description})" if description else "",
        schema=json.dumps(asked["schema"], ensure_ascii=False),
    )
