"""Asks for JSON until it keeps its schema: once, and twice again with what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.lint import unenforced_hint
from local_llm_service.tasks.json_answers.reading import Found, read_json
from local_llm_service.tasks.json_answers.repair import repaired
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import Completion, JsonSchema, Prompt

#: How often a model is asked again.
MOST_REPAIRS: Final = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """What was found in the last completion.

    `is_short`: a completion before it was cut at its budget, or its values had no end, so that
    those of this one were bounded: it is not all that the model had to say.
    """

    found: T
    is_short: bool


def ask_json(
    ask: Steps, prompt: Prompt, schema: JsonSchema, *, budget_name: str = "MAX_OUTPUT_TOKENS"
) -> Any:
    """The value that the model writes for a prompt, an instance of `schema`.

    `prompt.schema` is what the engine is told, and may say less. `budget_name` is what the caller
    knows the bound of tokens by. Raises InvalidOutput with what was wrong last, and otherwise what
    `ask` and `read_json` raise.
    """
    return ask_for_json(ask, prompt, schema, budget_name=budget_name).found.value


def ask_for_json(
    ask: Steps, prompt: Prompt, schema: JsonSchema, *, budget_name: str = "MAX_OUTPUT_TOKENS"
) -> Kept[Found]:
    """The same, with the text of the value and whether it was made short."""
    return ask_until(ask, prompt, partial(read_json, schema=schema, budget=budget_name), schema)


def ask_until(
    ask: Steps,
    prompt: Prompt,
    read: Callable[[Completion], T | Flaw],
    schema: JsonSchema | None,
) -> Kept[T]:
    """What `read` finds in a completion, which is asked for again as long as it finds a flaw.

    Each further prompt is the first one with the last flaw. `schema` is for the error's hint.
    Raises as `ask_json`.
    """
    flaw: Flaw | None = None
    is_short = False
    for tried in range(1 + MOST_REPAIRS):
        current = prompt
        if flaw is not None:
            ask.progress(ask.steps, ask.steps + 1, "repairing")
            current = repaired(prompt, flaw, is_last=tried == MOST_REPAIRS)
        try:
            found = read(ask(current))
        except InvalidOutput as error:
            if prompt.schema is None:
                raise  # it was no JSON that had no end
            found = Flaw.of_error(error)
        except ContextOverflow:
            if flaw is None:
                raise
            break  # there is no room for a repair
        if not isinstance(found, Flaw):
            return Kept(found, is_short)
        flaw, is_short = found, is_short or found.is_cut or found.has_grown
    assert flaw is not None
    raise flaw.error(None if schema is None else unenforced_hint(schema))
