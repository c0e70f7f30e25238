"""A completion read as JSON that has to keep a schema: a value, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from local_llm_service.tasks.json_answers.extraction import NotJson, extracted
from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_schema import breach
from local_llm_service.worker.prompt import Completion, JsonSchema


@dataclass(frozen=True, slots=True)
class Found:
    """A value that keeps its schema, and its text as the model wrote it, in its completion."""

    value: Any = field(repr=False)
    text: str = field(repr=False)
    completion: Completion = field(repr=False)


def read_json(completion: Completion, schema: JsonSchema, budget: str) -> Found | Flaw:
    """The value in a completion. `budget` names what bounds its tokens.

    A text that was cut at its budget counts if the value in it is whole: what was cut came after
    it. Raises InvalidRequest if the schema makes too much work, and the reasons of `run_bounded`.
    """
    is_cut = completion.finish_reason == "length"
    try:
        found = extracted(completion.text, is_cut=is_cut)
    except NotJson as reason:
        if is_cut:
            return _cut(completion, budget)
        advice = f"It is not JSON: {reason}."
        return Flaw("the model's answer is not JSON", advice, completion.text)
    broken = breach(found.value, schema)
    if broken is not None:
        return Flaw.of_breach(broken, found.text)
    return Found(found.value, found.text, completion)


def read_instance(
    completion: Completion, schema: JsonSchema, budget: str = "MAX_OUTPUT_TOKENS"
) -> Any:
    """The value alone. Raises InvalidOutput, which holds no text, and otherwise as `read_json`."""
    found = read_json(completion, schema, budget)
    if isinstance(found, Flaw):
        raise found.error()
    return found.value


def _cut(completion: Completion, budget: str) -> Flaw:
    tokens = completion.completion_tokens
    return Flaw(
        f"the JSON was cut at {tokens} tokens ({budget})",
        f"It was longer than {tokens} tokens and was cut. Write a shorter one.",
        completion.text,
        is_cut=True,
    )
