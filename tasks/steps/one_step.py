"""A program of one step, made of two pure functions: a prompt, and what is read from the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local_llm_service.tasks.steps.protocol import Program, Steps
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed


def one_step(
    prompt: Callable[[Any, int], Prompt | ToEmbed],
    read: Callable[[Any, Completion], Mapping[str, object]],
) -> Program:
    """The program that asks once.

    `prompt(request, max_output_tokens)` returns the prompt, or texts whose vectors are wanted.
    `read(request, completion)` returns the answer's own fields, or raises InvalidOutput if the
    completion breaks the contract of the kind.
    """

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        asked = prompt(request, ask.max_output_tokens)
        completion = ask.embed(asked) if isinstance(asked, ToEmbed) else ask(asked)
        return read(request, completion)

    return work
