"""The sampling profile of every kind, in one table.

It is part of what a kind's `template_version` names: raise that with every change here, or old
answers come out of the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from local_llm_service.worker.prompt import REPEATABLE, Sampling

#: By kind. Summaries and JSON are to be the same for the same question, so they are the most likely
#: text; the temperature of `generate` and `chat` is their caller's.
SAMPLING: Final[Mapping[str, Sampling]] = {
    "generate": REPEATABLE,
    "summarize": REPEATABLE,
    "compress": REPEATABLE,
    "extract_parameters": REPEATABLE,
    "structured_output": REPEATABLE,
    "chat": REPEATABLE,
}

#: Seeds that every version of Ollama takes as they are: 0 counts as none, and so do others.
_SEEDS = 2**31 - 1


def at_temperature(sampling: Sampling, temperature: float) -> Sampling:
    """The profile at a caller's temperature; above 0 each call may give another text."""
    if temperature == 0:
        return sampling
    return replace(sampling, temperature=temperature, seed=None)


def unrepetitive(sampling: Sampling) -> Sampling:
    """The profile for another try at a text that went round in circles.

    No first try has it: a penalty is one on copying, too, and on the zeros of a number.
    """
    return replace(sampling, frequency_penalty=0.3)


def seeded(sampling: Sampling, seed: int) -> Sampling:
    """The profile with a caller's seed: the same one gives the same text, at any temperature."""
    return replace(sampling, seed=seed if 0 < seed <= _SEEDS else 1 + seed % _SEEDS)
