"""How the tests of this folder ask an engine, and a caller that may stop what it asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.prompt import Completion, Message, Prompt
from tests.conformance.subject import Subject

#: Words that no server says by itself, so that a leak is found.
SECRET = "Quetzalcoatlus"
#: How long a call may take that must end soon; nothing waits for it to pass.
SOON = 20.0


class Caller:
    """A caller that may stop its generation; `others_seconds` is how long others still wait."""

    def __init__(self, *others_seconds: float) -> None:
        self.reason: ServiceError | None = None
        self.stops: list[Callable[[], None] | None] = []
        self._others = iter(others_seconds)

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Keep the stop; call it at once if it was already requested."""
        self.stops.append(stop)
        if stop is not None and self.reason is not None:
            stop()

    def request_stop(self, reason: ServiceError) -> None:
        """Stop the running generation."""
        self.reason = reason
        stop = self.stops[-1] if self.stops else None
        if stop is not None:
            stop()

    def wanted_seconds(self) -> float:
        """The next value of `others_seconds`, then 0."""
        return next(self._others, 0.0)


def prompt(text: str = "Name three colours.", *, max_tokens: int = 24, **fields: Any) -> Prompt:
    """A prompt of one message."""
    messages: tuple[Message, ...] = ({"role": "user", "content": text},)
    return Prompt(messages, max_tokens, **fields)


def ask(
    engine: Engine,
    subject: Subject,
    asked: Prompt | None = None,
    *,
    seconds: float = SOON,
    **options: Any,
) -> Completion:
    """Run one prompt to its end."""
    return engine.complete(
        asked or prompt(), model=subject.model, remaining_seconds=seconds, **options
    )
