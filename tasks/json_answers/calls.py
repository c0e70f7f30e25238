"""Calls of a chat's tools: read out of JSON where the model has to make one, and checked."""

from __future__ import annotations

import json
from collections.abc import Sequence

from local_llm_service.tasks.json_answers.extraction import is_too_deep
from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.reading import read_json
from local_llm_service.tasks.json_schema import breach
from local_llm_service.tasks.tools import Tool
from local_llm_service.worker.prompt import Completion, JsonSchema, ToolCall

_ANY_CALL: JsonSchema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["name", "arguments"],
    "additionalProperties": False,
}


def read_forced_call(tools: Sequence[Tool], completion: Completion) -> ToolCall | Flaw:
    """The call that the model had to make, of one of the tools."""
    only = tools[0].function if len(tools) == 1 else None
    found = read_json(completion, _ANY_CALL if only is None else only.parameters, "max_tokens")
    if isinstance(found, Flaw):
        return found
    if only is not None:
        return {"function": {"name": only.name, "arguments": found.value}}
    call: ToolCall = {"function": found.value}
    flaw = _flaw_of(tools, call, found.text)
    return call if flaw is None else flaw


def flaw_of_calls(tools: Sequence[Tool], completion: Completion) -> Flaw | None:
    """What is wrong with the calls that a model made by itself; None if they can be passed on."""
    for call in completion.tool_calls:
        flaw = _flaw_of(tools, call, completion.text, completion.tool_calls)
        if flaw is not None:
            return flaw
    return None


def _flaw_of(
    tools: Sequence[Tool], call: ToolCall, text: str, calls: Sequence[ToolCall] = ()
) -> Flaw | None:
    schemas = {tool.function.name: tool.function.parameters for tool in tools}
    schema = schemas.get(call["function"]["name"])
    if schema is None:
        names = json.dumps(list(schemas), ensure_ascii=False)
        message = "the model called a function that is not there"
        return Flaw(message, f"There is no such function. There are {names}.", text, calls=calls)
    if is_too_deep(call["function"]["arguments"]):
        return Flaw("the model's arguments nest too deep", "They nest too deep.", text)
    broken = breach(call["function"]["arguments"], schema)
    return None if broken is None else Flaw.of_breach(broken, text, calls)
