"""The packages that only a worker needs, and what to install where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def worker_packages() -> Iterator[None]:
    """For imports of the worker's half: a missing package becomes a sentence with what to do.

    Raises ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if missing.startswith("local_llm_service"):
            raise
    else:
        return
    raise ModuleNotFoundError(
        f"{missing} is not installed: pip install 'local-llm-service[worker]'", name=missing
    )
