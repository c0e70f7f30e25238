"""How long a worker tries to send what comes after a job, while Redis or a broker is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: The answer of the step before exists and must not be lost because the next cannot be sent now.
CONTINUE_SECONDS = 600.0

#: Set while work is done that is repeated if it fails: it does not wait itself.
_repeated: ContextVar[bool] = ContextVar("repeated", default=False)


@contextmanager
def repeated() -> Iterator[None]:
    """In this block, sending fails at once: whoever sends tries again later."""
    token = _repeated.set(True)
    try:
        yield
    finally:
        _repeated.reset(token)


def is_repeated() -> bool:
    """Whether the caller tries again by itself."""
    return _repeated.get()


def patience_seconds() -> float:
    """How long a worker that continues a canvas tries to send."""
    return 0.0 if _repeated.get() else CONTINUE_SECONDS
