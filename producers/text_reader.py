"""One reader of a job's text: which events a look at Redis, or a message, makes. It does no I/O.

Whoever drives it looks first, hands over each message that it hears, and looks again where `heard`
returns None. Each character of a run is given once, however looks and messages come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Generic

from local_llm_service.producers.stream_event import A, EventType, StreamEvent
from local_llm_service.tasks.answer import text_of
from local_llm_service.worker.errors import Cancelled, InvalidRequest, ServiceError
from local_llm_service.worker.store.texts import TextLook

#: The run of an offset in the text that an answer itself holds.
ANSWER_RUN = "0"
_OFFSET = re.compile(r"([0-9a-z]{1,40})\.([0-9]{1,15})", re.ASCII)


class TextReader(Generic[A]):
    """Where one reader is. `run` and `from_bytes` are what its next look needs."""

    def __init__(self, after: str | None = None) -> None:
        """Begin after an offset of an earlier event; None: at the start.

        Raises InvalidRequest for what is no offset.
        """
        self.run, self._characters = ("", 0) if after is None else _read(after)
        self.has_ended = False
        #: Bytes of what was given of this run, None until that is known; and their digest: a
        #: thousand readers are not to hold a thousand texts.
        self._bytes: int | None = 0 if after is None else None
        self._digest = blake2b()

    @property
    def from_bytes(self) -> int:
        """How many bytes of the text of `run` need not be read again."""
        return self._bytes or 0

    @property
    def offset(self) -> str:
        """The place after the last event."""
        return f"{self.run or ANSWER_RUN}.{self._characters}"

    def heard(self, message: bytes) -> list[StreamEvent[A]] | None:
        """What a message on one of the job's channels says; None: look."""
        if not message.startswith(b"t") or self._bytes is None:
            return None
        try:
            run, at, piece = message[1:].decode().split(" ", 2)
            start = int(at)
        except ValueError:
            return None
        if run != self.run:
            return None
        if start == self._characters:
            return list(self._give(piece))
        return [] if start + len(piece) <= self._characters else None

    def looked(self, look: TextLook, outcome: A | ServiceError | None) -> list[StreamEvent[A]]:
        """What a look says. `outcome` is the job's, once it has ended."""
        events = list(self._read_on(look)) if look.run else []
        if outcome is None:
            return events
        self.has_ended = True
        if isinstance(outcome, ServiceError):
            word: EventType = "cancelled" if isinstance(outcome, Cancelled) else "failed"
            return [*events, StreamEvent(word, offset=self.offset, error=outcome)]
        if not (look.run and look.is_complete):
            events += self._read_answer(text_of(outcome.model_dump(mode="json")))
        return [*events, StreamEvent("end", offset=self.offset, answer=outcome)]

    def _read_on(self, look: TextLook) -> Iterator[StreamEvent[A]]:
        """Give what is new of the run that counts."""
        text = look.text
        if look.run != self.run:
            yield from self._restart(look.run)
        elif self._bytes is None:
            # After an offset: the whole text is here, and tells what its beginning is.
            if len(text) < self._characters:
                yield from self._restart(look.run)
            else:
                self._note(text[: self._characters])
                text = text[self._characters :]
        elif look.from_bytes != self._bytes:
            return  # Redis has lost a part that was given; the same is being written again
        yield from self._give(text)

    def _read_answer(self, text: str) -> Iterator[StreamEvent[A]]:
        """Give what is missing of the text that the answer holds."""
        given = text[: self._characters]
        if self._bytes is None:
            goes_on = self.run == ANSWER_RUN and len(given) == self._characters
        else:
            goes_on = blake2b(_encoded(given)).digest() == self._digest.digest()
        if not goes_on:
            yield from self._restart(ANSWER_RUN)
        self.run, self._bytes = ANSWER_RUN, len(_encoded(text[: self._characters]))
        yield from self._give(text[self._characters :])

    def _give(self, text: str) -> Iterator[StreamEvent[A]]:
        if text:
            self._note(text)
            self._characters += len(text)
            yield StreamEvent("text", text, self.offset)

    def _note(self, text: str) -> None:
        """Text that its reader has got by now, or had before it came."""
        data = _encoded(text)
        self._bytes = (self._bytes or 0) + len(data)
        self._digest.update(data)

    def _restart(self, run: str) -> Iterator[StreamEvent[A]]:
        """Begin with a text from its start; whoever has got something of another is told."""
        is_news = self._characters > 0 or self._bytes is None
        self.run, self._characters, self._bytes, self._digest = run, 0, 0, blake2b()
        if is_news:
            yield StreamEvent("restart", offset=self.offset)


def _encoded(text: str) -> bytes:
    """As the worker's text writer does it: an answer in JSON can hold half a character."""
    return text.encode(errors="replace")


def _read(offset: object) -> tuple[str, int]:
    found = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
    if found is None:
        raise InvalidRequest(
            "after: is no offset of a stream", "Give the offset of an event, or leave it out."
        )
    return found[1], int(found[2])
