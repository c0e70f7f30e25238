"""Texts of any length, made short in steps that each fit into the model's context.

The parts of a text are read one by one, each into a note whose length is the part's share; notes
are joined in groups until one step can write the last text, within its caller's budget. A part's
prompt depends on nothing but the part, so that a text which grew at its end finds its first notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.texts.budget import (
    Written,
    first_sentences,
    tokens_if_near,
    write_within,
)
from local_llm_service.tasks.texts.pieces import pieces
from local_llm_service.tasks.texts.room import Instructions, Room
from local_llm_service.tasks.texts.sentences import finished
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import Prompt

_BETWEEN_NOTES = "\n\n"


def condensed_text(ask: Steps, text: str, instructions: Instructions, tokens: int) -> Written:
    """What a text of any length says, in at most `tokens` tokens. Raises as `condensed`."""
    room = Room.of(ask, instructions, tokens)
    parts = [text] if room.is_last(text) else pieces(text, room.is_part)
    return condensed(ask, parts, instructions, tokens)


def condensed(ask: Steps, parts: Sequence[str], instructions: Instructions, tokens: int) -> Written:
    """What the parts of a text say together, in at most `tokens` tokens; `Room.is_part` of each.

    The model reads every part; one that is as short as its note would be stands for itself. Of the
    result, `read_tokens` are those of the parts, by estimate without the instructions.

    Raises ContextOverflow if the context has no room for the instructions and a few sentences,
    InvalidOutput if not one sentence fits into the budget, and what a step raises.
    """
    return _Reading(ask, instructions, Room.of(ask, instructions, tokens)).of(parts)


class _Reading:
    """One text on its way through the steps."""

    def __init__(self, ask: Steps, instructions: Instructions, room: Room) -> None:
        self._ask, self._instructions, self._room = ask, instructions, room
        self._read_tokens = self._done = 0
        self._total, self._phase = 1, "reading"

    def of(self, parts: Sequence[str]) -> Written:
        """See condensed."""
        written = self._of_whole("".join(parts)) or self._of_notes(self._notes(parts))
        return replace(written, read_tokens=self._read_tokens)

    def _of_whole(self, text: str) -> Written | None:
        """What one step says of all of the text; None if it does not fit."""
        if not self._room.is_last(text):
            return None
        try:
            written = self._written(text, self._instructions.whole, self._room.last_tokens)
        except ContextOverflow:
            return None
        self._read_tokens = written.read_tokens
        return written

    def _of_notes(self, notes: list[str]) -> Written:
        """What notes say together, which become fewer until they fit into the last step."""
        while True:
            text = _BETWEEN_NOTES.join(notes)
            known = tokens_if_near(self._ask, text, self._room.wanted_tokens)
            if known is not None and finished(text) == text:
                return Written(text, known)
            if self._room.is_last(text) or len(notes) == 1:
                try:
                    return self._written(text, self._instructions.last, self._room.last_tokens)
                except ContextOverflow:
                    if len(notes) == 1:
                        raise
            notes = self._joined(notes)

    def _notes(self, parts: Sequence[str]) -> list[str]:
        """A note of each part; of a part that does not fit after all, of its halves."""
        todo, notes = list(reversed(parts)), []
        while todo:
            part = todo.pop()
            self._total = self._done + len(todo) + 2
            try:
                written = self._note(part, self._instructions.part)
            except ContextOverflow:
                if len(part) < 2:
                    raise
                todo += reversed(_halves(part))
                continue
            self._read_tokens += written.read_tokens
            notes.append(written.text)
        return [note for note in notes if note]

    def _joined(self, notes: list[str]) -> list[str]:
        """Fewer notes that say the same."""
        groups = list(_groups(notes, self._room.is_part))
        if len(groups) == len(notes):  # the estimates are far off: two notes have to fit
            groups = [notes[place : place + 2] for place in range(0, len(notes), 2)]
        self._phase, self._total = "joining", self._done + len(groups) + 1
        joined = []
        for group in groups:
            text = _BETWEEN_NOTES.join(group)
            joined.append(
                text if len(group) == 1 else self._note(text, self._instructions.join).text
            )
        return joined

    def _note(self, part: str, closing: Callable[[int], str]) -> Written:
        """A note of a text, or the text itself where that is no longer than its note may be."""
        tokens = self._room.note_tokens(part)
        if (known := tokens_if_near(self._ask, part, tokens)) is not None:
            return Written(part.strip(), known, known)
        try:
            return self._written(part, closing, tokens, is_last=False)
        except InvalidOutput:
            # The model read it and wrote no sentence of it; those that it begins with stand for it.
            read_tokens = self._ask.likely_tokens(part)
            return Written(first_sentences(self._ask, part, tokens), tokens, read_tokens)

    def _written(
        self, text: str, closing: Callable[[int], str], tokens: int, *, is_last: bool = True
    ) -> Written:
        """What one step writes of a text."""
        tries = 0

        def prompt(words: int, max_tokens: int) -> Prompt:
            nonlocal tries
            tries += 1
            if self._total > 1 or tries > 1:
                phase = self._phase if tries == 1 else "shortening"
                self._ask.progress(self._done, self._total, phase)
            return self._instructions.prompt(text, closing(words), max_tokens, is_spoken=is_last)

        written = write_within(self._ask, prompt, tokens, shared=not is_last)
        self._done += 1
        likely = self._ask.likely_tokens(text)
        prompt_tokens = likely + self._room.frame_tokens
        # Of a text at which each try was stopped nobody has counted the tokens.
        read_tokens = (written.read_tokens or prompt_tokens) * likely // prompt_tokens
        return replace(written, read_tokens=read_tokens)


def _halves(text: str) -> list[str]:
    most = (len(text) + 1) // 2
    return pieces(text, lambda piece: len(piece) <= most)


def _groups(notes: Sequence[str], fits: Callable[[str], bool]) -> Iterator[list[str]]:
    """Neighbours that fit together, as many as do from the first one on."""
    group: list[str] = []
    for note in notes:
        if group and not fits(_BETWEEN_NOTES.join([*group, note])):
            yield group
            group = []
        group.append(note)
    if group:
        yield group
