"""Whether a prompt fits a model, as far as that can be told before it is asked.

The model server knows best, and refuses a prompt that is too long at once. So an estimate decides
only where there is no doubt: then the local model is not asked in vain.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import ServiceError

#: A shorter prompt is not measured.
_SHORT_CHARACTERS: Final = 4000
#: Of a longer one so many are, in windows that are evenly spaced over all texts as if they were
#: one: more would take longer than a choice may (1 ms), however many messages there are.
_WINDOWS, _WINDOW_CHARACTERS = 8, 120
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
    asked: Asked, tokens: Callable[[], float], context_tokens: Callable[[], int]
) -> bool:
    """Whether a prompt is far longer than a context; False where the context is not known.

    `tokens` is asked for only where that is needed; see tokens_of.
    """
    if asked.characters <= _SHORT_CHARACTERS:
        return False
    try:
        room = context_tokens()
    except ServiceError:
        return False
    return tokens() > _NO_DOUBT * room


def tokens_of(texts: tuple[str, ...], likely_tokens: Callable[[str], int]) -> float:
    """About the tokens of all texts: of a sample, in proportion."""
    ends = list(accumulate(map(len, texts)))
    characters = ends[-1] if ends else 0
    if characters <= _WINDOWS * _WINDOW_CHARACTERS:
        return sum(map(likely_tokens, texts))
    sample = []
    for number in range(_WINDOWS):
        place = (characters - _WINDOW_CHARACTERS) * number // (_WINDOWS - 1)
        at = bisect_right(ends, place)
        within = place - (ends[at] - len(texts[at]))
        sample.append(texts[at][within : within + _WINDOW_CHARACTERS])
    joined = "".join(sample)
    return likely_tokens(joined) * characters / len(joined)
