"""A text on its way to readers, of which the sentence in progress is held back.

An answer leaves out a sentence that was cut; nobody is to have read it by then.
"""

from __future__ import annotations

from collections.abc import Callable

from local_llm_service.tasks.texts.sentences import sentences

#: Characters that come before the next look, at least; of a long sentence, the second share.
_LEAST_NEWS, _NEWS_SHARE = 8, 0.25


def in_sentences(readers: Callable[[str], None]) -> Callable[[str], None]:
    """A sink that hands each sentence on once the next one has begun.

    White space before the first one and behind the last is left out, as it is of the answer.
    """
    held = ""
    looked_at = 0
    has_begun = False

    def take(piece: str) -> None:
        nonlocal held, looked_at, has_begun
        held += piece if has_begun else piece.lstrip()
        has_begun = has_begun or bool(held)
        if len(held) - looked_at < max(_LEAST_NEWS, len(held) * _NEWS_SHARE):
            return
        finished = "".join(sentences(held)[:-1]).rstrip()
        held = held[len(finished) :]
        looked_at = len(held)
        if finished:
            readers(finished)

    return take
