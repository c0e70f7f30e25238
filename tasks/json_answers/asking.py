"""Asks for JSON until it keeps its schema: once, and twice again with what was wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.lint import unenforced_hint
from local_llm_service.tasks.json_answers.reading import read_json
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import Completion, JsonSchema, Message, Prompt

#: How often a model is asked again. With a text that has no end once is enough.
MOST_REPAIRS: Final = 2
#: A longer text is not shown to the model again: its own words weigh more than what is wrong.
MOST_SHOWN_CHARS: Final = 4000

AGAIN = "That answer was refused. {advice} Answer again, with JSON only that keeps the JSON Schema."
CALL_AGAIN = "Refused: {advice} Make the call again."
ANEW = "An earlier answer was refused. {advice} Answer with JSON only that keeps the JSON Schema."

T = TypeVar("T")


def ask_json(
    ask: Steps, prompt: Prompt, schema: JsonSchema, *, budget_name: str = "MAX_OUTPUT_TOKENS"
) -> Any:
    """The value that the model writes for a prompt, an instance of `schema`.

    `prompt.schema` is what the engine is told, and may say less. `budget_name` is what the caller
    knows the bound of tokens by. Raises InvalidOutput with what was wrong last, and otherwise what
    `ask` and `read_json` raise.
    """
    read = partial(read_json, schema=schema, budget=budget_name)
    return ask_until(ask, prompt, read, schema).value


def ask_until(
    ask: Steps,
    prompt: Prompt,
    read: Callable[[Completion], T | Flaw],
    schema: JsonSchema | None,
) -> T:
    """What `read` finds in a completion, which is asked for again as long as it finds a flaw.

    Each further prompt is the first one with the last flaw. `schema` is for the error's hint.
    Raises as `ask_json`.
    """
    flaw: Flaw | None = None
    current, endless = prompt, 0
    for _ in range(1 + MOST_REPAIRS):
        if flaw is not None:
            ask.progress(ask.steps, ask.steps + 1, "repairing")
        try:
            found = read(ask(current))
        except InvalidOutput as error:
            found = Flaw.of_error(error)
        except ContextOverflow:
            if flaw is None:
                raise
            break  # there is no room for a repair
        if not isinstance(found, Flaw):
            return found
        flaw, endless = found, endless + found.is_endless
        if endless > 1:
            break
        current = repaired(prompt, flaw)
    assert flaw is not None
    raise flaw.error(None if schema is None else unenforced_hint(schema))


def repaired(prompt: Prompt, flaw: Flaw) -> Prompt:
    """The prompt with what was wrong; also with the answer itself if that may help."""
    messages = list(prompt.messages)
    shown = not flaw.is_endless and len(flaw.text) + len(json.dumps(flaw.calls)) <= MOST_SHOWN_CHARS
    if shown and flaw.calls:
        messages.append({"role": "assistant", "content": flaw.text, "tool_calls": list(flaw.calls)})
        told = CALL_AGAIN.format(advice=flaw.advice)
        messages += [
            {"role": "tool", "tool_name": call["function"]["name"], "content": told}
            for call in flaw.calls
        ]
    elif shown and flaw.text:
        messages.append({"role": "assistant", "content": flaw.text})
        messages.append({"role": "user", "content": AGAIN.format(advice=flaw.advice)})
    else:
        _add_to_last(messages, ANEW.format(advice=flaw.advice))
    return replace(prompt, messages=tuple(messages))


def _add_to_last(messages: list[Message], note: str) -> None:
    """Say it in the user's last turn: two of the user in a row are refused by some templates."""
    last = messages[-1]
    if last["role"] == "user":
        messages[-1] = {**last, "content": f"{last['content']}\n\n{note}"}
    else:
        messages.append({"role": "user", "content": note})
