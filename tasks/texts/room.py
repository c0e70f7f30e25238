"""What fits into the context beside the instructions: parts of a text, notes, the last text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.prompt import Message, Prompt, Sampling

#: Of the room in the context, what a part may take; the rest is for its note.
_PART_SHARE = 0.8
#: A note has this share of its part's tokens, or of the room for a part the second share at least.
_NOTE_SHARE, _LEAST_NOTE_SHARE = 0.25, 0.125
#: A note is no shorter than this in a context that has room for it.
_LEAST_NOTE = 64
#: A note need not be longer than this, nor than the text that is made of it.
_LONG_NOTE = 128
#: Tokens that a chat template puts around two messages, at most.
_TEMPLATE_TOKENS = 40
#: With less room for a part and its note no model could make sense of either.
_LEAST_ROOM = 128
#: Stands for a number of words that is as long as any.
_MANY_WORDS = 9999
_QUOTE = '"'


@dataclass(frozen=True, slots=True)
class Instructions:
    """How a model is asked. What is the same for every text stands first, in `system`.

    The others make what stands behind a text, of the number of words that are wanted: `whole`
    behind a text that is all there is, `part` behind a part of a longer one, `join` behind notes
    of which one is to be made, `last` behind the notes of which the last text is to be made.
    """

    system: str
    whole: Callable[[int], str]
    part: Callable[[int], str]
    join: Callable[[int], str]
    last: Callable[[int], str]
    sampling: Sampling

    def prompt(
        self, text: str, closing: str, max_tokens: int, *, is_spoken: bool = False
    ) -> Prompt:
        """The prompt with a text between marks that do not occur in it, and what stands behind."""
        mark = 3 * _QUOTE
        while mark in text:
            mark += _QUOTE
        messages: tuple[Message, ...] = (
            {"role": "system", "content": self.system},
            {"role": "user", "content": f"{mark}\n{text.strip()}\n{mark}\n\n{closing}"},
        )
        return Prompt(messages, max_tokens, self.sampling, spoken=is_spoken, in_sentences=True)

    def frame_tokens(self, ask: Steps) -> int:
        """An estimate of what all of a prompt but the text takes, rather too much."""
        closings = (self.whole, self.part, self.join, self.last)
        longest = max((closing(_MANY_WORDS) for closing in closings), key=len)
        return ask.likely_tokens(self.system + longest) + _TEMPLATE_TOKENS


@dataclass(frozen=True, slots=True)
class Room:
    """The room for a text and what is written of it in one step, in tokens.

    `last_tokens` may be written at the end: a budget is a bound, and a small context holds less.
    """

    ask: Steps
    tokens: int
    frame_tokens: int
    last_tokens: int
    wanted_tokens: int

    @classmethod
    def of(cls, ask: Steps, instructions: Instructions, wanted_tokens: int) -> Room:
        """The room that instructions leave. Raises ContextOverflow if that is next to none."""
        frame_tokens = instructions.frame_tokens(ask)
        tokens = ask.context_tokens - frame_tokens
        if tokens < _LEAST_ROOM:
            raise ContextOverflow(
                f"the context of {ask.context_tokens} tokens has no room for a part of the text: "
                f"the instructions take about {frame_tokens} tokens, and a part takes "
                f"{_LEAST_ROOM}",
                "Raise NUM_CTX on the workers, or shorten the question.",
            )
        last_tokens = min(wanted_tokens, tokens // 2, ask.max_output_tokens)
        return cls(ask, tokens, frame_tokens, last_tokens, wanted_tokens)

    @property
    def part_tokens(self) -> int:
        """Tokens of the longest part."""
        return int(self.tokens * _PART_SHARE)

    def is_part(self, text: str) -> bool:
        """Whether a text can be read in one step, into its note."""
        return self.ask.likely_tokens(text) <= self.part_tokens

    def is_last(self, text: str) -> bool:
        """Whether the last text can be written of this one in one step."""
        return self.ask.likely_tokens(text) <= self.tokens - self.last_tokens

    def note_tokens(self, part: str) -> int:
        """The budget of a part's note: its share, whatever other parts there are.

        At least four notes are a part in turn, so that joining them comes to an end.
        """
        least = min(_LEAST_NOTE, int(self.part_tokens * _LEAST_NOTE_SHARE))
        share = int(self.ask.likely_tokens(part) * _NOTE_SHARE)
        return max(least, min(share, max(_LONG_NOTE, self.wanted_tokens), self.part_tokens // 4))
