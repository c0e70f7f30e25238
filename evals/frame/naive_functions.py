"""The ways in which people ask a model for a function's arguments without this service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evals.frame.eval_set import Spent
from evals.frame.here import Here
from evals.frame.plain_ollama import PlainOllama, PlainReply
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME, TOOLS_NAME

#: What an answer may have; the service's own bound is larger.
MOST_TOKENS = 400
ONE = "Extract the arguments of this function from the user's message as JSON.\n"
ONE_OF = (
    'Choose the function that fits the user\'s message, and answer with {"name": the function, or '
    'null if none fits, "arguments": its arguments as JSON}.\n'
)

#: The name of a function, its arguments (None: there are none that can be read), and the cost.
Called = tuple[str | None, Any, Spent]


async def by_format(here: Here, functions: Sequence[dict[str, Any]], message: str) -> Called:
    """The functions in the prompt, and Ollama's `format` with their schema."""
    if len(functions) == 1:
        schema = functions[0]["parameters"]
    else:
        schema = {
            "type": "object",
            "properties": {
                "name": {"enum": [*(one["name"] for one in functions), None]},
                "arguments": {"type": "object"},
            },
            "required": ["name", "arguments"],
        }
    return _read(functions, await _asked(here.plain, functions, message, schema))


async def in_plain_json(here: Here, functions: Sequence[dict[str, Any]], message: str) -> Called:
    """The same without `format`: JSON is asked for in words alone."""
    return _read(functions, await _asked(here.plain, functions, message, None))


async def by_tools(here: Here, functions: Sequence[dict[str, Any]], message: str) -> Called:
    """The model's own calls of tools, by its own template."""
    names = {one["name"].replace(".", "_"): one["name"] for one in functions}
    tools = [
        {"type": "function", "function": {**one, "name": one["name"].replace(".", "_")}}
        for one in functions
    ]
    plain = here.plain
    # The embedded model's one file has a second name, with a template that knows tools.
    model = TOOLS_NAME if plain.model == MODEL_NAME else plain.model
    messages = [{"role": "user", "content": message}]
    reply = await plain.of(model).chat(messages, tools=tools, max_tokens=MOST_TOKENS)
    if not reply.tool_calls:
        return None, None, reply.spent
    call = reply.tool_calls[0]["function"]
    return names.get(call["name"]), call.get("arguments"), reply.spent


async def _asked(
    plain: PlainOllama, functions: Sequence[dict[str, Any]], message: str, schema: Any
) -> PlainReply:
    told = "\n".join(json.dumps(one, ensure_ascii=False) for one in functions)
    messages = [
        {"role": "system", "content": (ONE if len(functions) == 1 else ONE_OF) + told},
        {"role": "user", "content": message},
    ]
    return await plain.chat(messages, format=schema, max_tokens=MOST_TOKENS)


def _read(functions: Sequence[dict[str, Any]], reply: PlainReply) -> Called:
    text = reply.text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if len(functions) == 1:
        return functions[0]["name"], value, reply.spent
    if not isinstance(value, dict):
        return None, None, reply.spent
    return value.get("name"), value.get("arguments"), reply.spent
