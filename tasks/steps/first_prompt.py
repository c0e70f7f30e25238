"""The first prompt of a job, without an engine: for estimates and tests."""

from __future__ import annotations

from typing import Any

from local_llm_service.tasks.steps.protocol import Program
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed

#: Enough for any text to be one piece.
_ENDLESS_TOKENS = 2**40


class _Asked(BaseException):
    """Carries the prompt past the program, which may handle every Exception."""

    def __init__(self, asked: Prompt | ToEmbed) -> None:
        super().__init__()
        self.asked = asked


class _UntilAsked:
    """Steps that end the program at its first one. A text has as many tokens as characters."""

    steps = 0
    context_tokens = _ENDLESS_TOKENS

    def __init__(self, max_output_tokens: int) -> None:
        self.max_output_tokens = max_output_tokens

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        raise _Asked(prompt)

    def embed(self, texts: ToEmbed) -> Completion:
        raise _Asked(texts)

    def count(self, text: str) -> int:
        return len(text)

    most_tokens = likely_tokens = count

    def progress(self, done: int, total: int, phase: str) -> None:
        pass


def first_prompt(work: Program, request: Any, max_output_tokens: int) -> Prompt | ToEmbed | None:
    """What a job would ask first if its model had room for all of it; None: it asks nothing.

    Raises what the program raises before it asks.
    """
    try:
        work(request, _UntilAsked(max_output_tokens))
    except _Asked as found:
        return found.asked
    return None
