"""Whether a prompt fits a model, as far as that can be told before it is asked.

The model server knows best, and refuses a prompt that is too long at once. So an estimate decides
only where there is no doubt: then the local model is not asked in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import ServiceError

#: A shorter prompt is not measured.
_SHORT_CHARACTERS: Final = 4000
#: Of a longer one so many are, in three places: more would take longer than a choice may (1 ms).
_SAMPLE_CHARACTERS: Final = 3000
#: An estimate may say twice what a text has, of a model that has taught nothing yet.
_NO_DOUBT: Final = 2.0


def lacking(asked: Asked, capabilities: Capabilities) -> str:
    """What a model server does not take of what is asked for, as a reason; empty: nothing."""
    if asked.tools and not capabilities.tools:
        return reasons.NO_TOOLS
    if asked.logprobs and not capabilities.logprobs:
        return reasons.NO_LOGPROBS
    return ""


def is_too_long(
    asked: Asked, likely_tokens: Callable[[str], int], context_tokens: Callable[[], int]
) -> bool:
    """Whether a prompt is far longer than a context; False where the context is not known."""
    if asked.characters <= _SHORT_CHARACTERS:
        return False
    try:
        room = context_tokens()
    except ServiceError:
        return False
    return _tokens(asked.texts, likely_tokens) > _NO_DOUBT * room


def _tokens(texts: tuple[str, ...], likely_tokens: Callable[[str], int]) -> float:
    """About the tokens of all texts: of samples, in proportion."""
    total = 0.0
    for text in texts:
        sample = _sample(text)
        if sample:
            total += likely_tokens(sample) * len(text) / len(sample)
    return total


def _sample(text: str) -> str:
    if len(text) <= _SAMPLE_CHARACTERS:
        return text
    part = _SAMPLE_CHARACTERS // 3
    middle = (len(text) - part) // 2
    return text[:part] + text[middle : middle + part] + text[-part:]
