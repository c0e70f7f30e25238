"""Counts the tokens of a text by a model server that counts prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.tokens.counting import LETTER
from local_llm_service.worker.tokens.model_tokens import ModelTokens

#: A text that may take more of the context is counted in parts: then also a server that cuts a
#: prompt which is too long cuts none of these.
_SHARE_OF_CONTEXT = 0.5
#: How far before the middle of a text the white space is looked for at which it is parted.
_SEARCH_CHARACTERS = 400


class TokenCounts:
    """`evaluated(text)` asks for the tokens of a prompt with this text; `context_tokens` for the
    context; `learn` notes what was counted."""

    def __init__(
        self,
        tokens: ModelTokens,
        evaluated: Callable[[str], int],
        context_tokens: Callable[[], int],
        learn: Callable[[str, int], None],
    ) -> None:
        self._tokens, self._evaluated = tokens, evaluated
        self._context_tokens, self._learn = context_tokens, learn

    def count(self, text: str) -> int:
        """The tokens of a text: exactly, and of one that is counted in parts rather too many."""
        return sum(self.of_parts(text, int(_SHARE_OF_CONTEXT * self._context_tokens())))

    def of_parts(self, text: str, most: int) -> Iterator[int]:
        """The tokens of a text's parts, each likely to have no more than `most`."""
        todo = [text]
        while todo:
            part = todo.pop()
            count = self._known(part, most)
            if count is None:
                place = _place_to_part(part)
                todo += [part[place:], part[:place]]
            else:
                yield count

    def _known(self, text: str, most: int) -> int | None:
        """The tokens of a text; None if it is too long to be counted at once."""
        known = 0 if not text else self._tokens.counts.get(text)
        if known is None and (self._tokens.rates.likely_tokens(text) <= most or len(text) < 2):
            known = self._asked(text)
            if known is not None:
                self._tokens.counts.keep(text, known)
                self._learn(text, known)
        return known

    def _asked(self, text: str) -> int | None:
        """White space at the ends is put between letters, where a template cannot cut it off, nor
        a tokenizer join it with the end of a line before."""
        before = LETTER if text[0].isspace() else ""
        after = LETTER if text[-1].isspace() and self._trims() else ""
        try:
            evaluated = self._evaluated(before + text + after)
        except ContextOverflow:
            if len(text) < 2:
                raise
            return None
        if evaluated == 0:  # a server that does not count what it remembers
            return self._tokens.rates.most_tokens(text)
        # A space goes into one token with the letter behind it.
        joined = 1 if after else 0
        return max(1, evaluated - self.overhead() - len(before + after) + joined)

    def overhead(self) -> int:
        """Tokens of a count's prompt that are not those of its text."""
        if self._tokens.overhead is None:
            self._tokens.overhead = max(0, self._evaluated(LETTER) - 1)
        return self._tokens.overhead

    def _trims(self) -> bool:
        if self._tokens.trims is None:
            without = self.overhead() + 1
            self._tokens.trims = self._evaluated(f"{LETTER}\n\n") <= without
        return self._tokens.trims


def _place_to_part(text: str) -> int:
    """Where to part a text in two: before white space near its middle, if there is any."""
    middle = len(text) // 2
    for place in range(middle, max(0, middle - _SEARCH_CHARACTERS), -1):
        if text[place].isspace() and not text[place - 1].isspace():
            return place
    return max(1, middle)
