"""Tools: functions that a model may call, or has to, and the calls that it makes.

Where the model may choose ("auto"), the engine offers the tools in the model's own way. Where it
has to call one, no engine can force it to; so this file asks for the call as JSON, under a grammar,
which any model can write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)

from local_llm_service.tasks.conversation import STRICT, UnicodeText, without
from local_llm_service.tasks.json_schema import check_schema
from local_llm_service.tasks.schema_graph import moved
from local_llm_service.worker.prompt import JsonSchema, Message, ToolCall
from local_llm_service.worker.prompt import Tool as SentTool

#: As OpenAI's.
MOST_TOOLS = 128
_NAME = r"^[a-zA-Z0-9_.-]{1,64}$"
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}

CALL_ONE = (
    "Answer with a call of one of these functions, as JSON: "
    '{{"name": the function, "arguments": its arguments}}. The functions are\n{functions}'
)
CALL_THIS = (
    "Answer with the arguments of {name} as JSON, as the conversation asks for. {description}"
    "The JSON Schema is {schema}"
)


def _parameters(value: Any, info: ValidationInfo) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON Schema of an object")
    parameters = {"type": "object", **value}
    if parameters["type"] != "object":
        raise ValueError("must be of type object")
    check_schema(parameters, info)
    return parameters


class ToolFunction(BaseModel):
    """A function, with the JSON Schema of its arguments."""

    model_config = STRICT

    name: Annotated[str, Field(pattern=_NAME)]
    description: UnicodeText = ""
    parameters: Annotated[Any, AfterValidator(_parameters)] = _NO_ARGUMENTS

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Take OpenAI's `strict` as said: arguments are always checked."""
        if isinstance(value, dict) and not isinstance(value.get("strict"), bool | None):
            raise ValueError("strict: must be true or false")
        plain = without(value, "strict")
        if not isinstance(plain, dict):
            return plain
        return {name: one for name, one in plain.items() if one is not None}


class Tool(BaseModel):
    """One tool, as OpenAI and Ollama write it."""

    model_config = STRICT

    type: Literal["function"] = "function"
    function: ToolFunction


def _none(value: Any) -> Any:
    return [] if value is None else value


def _tools(tools: list[Tool]) -> list[Tool]:
    if len(tools) > MOST_TOOLS:
        raise ValueError(f"at most {MOST_TOOLS}, got {len(tools)}")
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise ValueError("two functions have one name")
    return tools


def _choice(value: Any) -> Any:
    if value is None:
        return "auto"
    if value in ("auto", "none", "required"):
        return value
    function = value.get("function") if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or value.get("type", "function") != "function":
        raise ValueError(
            'must be "auto", "none", "required" or {"type": "function", "function": {"name": …}}'
        )
    return {"type": "function", "function": {"name": name}}


#: The functions of a call, up to MOST_TOOLS.
Tools = Annotated[list[Tool], BeforeValidator(_none), AfterValidator(_tools)]
#: What the model may or must do with them.
ToolChoice = Annotated[Any, AfterValidator(_choice)]


def forced(tools: Sequence[Tool], choice: Any) -> list[Tool]:
    """The tools of which the model has to call one; empty where it need not.

    Raises ValueError where the chosen one is not among them.
    """
    if choice == "required":
        if not tools:
            raise ValueError("tool_choice: there are no tools to choose from")
        return list(tools)
    if not isinstance(choice, dict):
        return []
    name = choice["function"]["name"]
    chosen = [tool for tool in tools if tool.function.name == name]
    if not chosen:
        raise ValueError("tool_choice: names a function that is not among the tools")
    return chosen


def sent(tools: Sequence[Tool]) -> tuple[SentTool, ...]:
    """The tools as an engine takes them."""
    return tuple(tool.model_dump(mode="json") for tool in tools)


# --- A call that the model has to make ------------------------------------------------------------


def call_schema(tools: Sequence[Tool]) -> JsonSchema:
    """What the model has to write: the arguments of the one tool, or a call of one of several."""
    if len(tools) == 1:
        parameters: dict[str, object] = tools[0].function.parameters
        return parameters
    parts = {
        f"arguments{place}": moved(tool.function.parameters, f"#/$defs/arguments{place}")
        for place, tool in enumerate(tools)
    }
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": {"$ref": f"#/$defs/arguments{place}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for place, tool in enumerate(tools)
    ]
    return {"anyOf": calls, "$defs": parts}


def call_instruction(tools: Sequence[Tool]) -> str:
    """What the model is told of a call that it has to make."""
    if len(tools) > 1:
        functions = "\n".join(
            json.dumps(tool.function.model_dump(), ensure_ascii=False) for tool in tools
        )
        return CALL_ONE.format(functions=functions)
    function = tools[0].function
    return CALL_THIS.format(
        name=function.name,
        description=f"It does this: {function.description} " if function.description else "",
        schema=json.dumps(function.parameters, ensure_ascii=False),
    )


def as_text(messages: Sequence[Message]) -> list[Message]:
    """The messages with calls and their results as text, in the form that CALL_ONE asks for.

    A model that is offered no tools may have no words of its own for them, and its template would
    leave them out.
    """
    told: list[Message] = []
    for message in messages:
        content, calls = message["content"], message.get("tool_calls", [])
        if calls:
            lines = [json.dumps(call["function"], ensure_ascii=False) for call in calls]
            content = "\n".join([content, *lines] if content else lines)
        if message["role"] == "tool":
            content = f"Result of {message.get('tool_name', 'the function')}: {content}"
        role = "user" if message["role"] == "tool" else message["role"]
        told.append({"role": role, "content": content})
    return told


def answered(call: ToolCall) -> Mapping[str, Any]:
    """A call as an answer holds it, with an id of its own."""
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", **call}
