"""A conversation within a budget of tokens: what is word for word, what is noted, the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from local_llm_service.tasks.compression.findings import Finding
from local_llm_service.tasks.compression.memory import Memory
from local_llm_service.tasks.compression.messages import messages_of
from local_llm_service.tasks.compression.notes import (
    LEAST_SUMMARY_TOKENS,
    chosen,
    more,
    summary_tokens,
)
from local_llm_service.tasks.compression.summary import held_to, summary_of
from local_llm_service.tasks.compression.talk import Talk
from local_llm_service.tasks.compression.turns import transcript
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.texts.budget import tokens_if_near
from local_llm_service.tasks.texts.sentences import sentences
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest

#: Of the room beside the rules, what the last turns leave to notes and summary.
_REST_SHARE = 1 / 4
#: Tokens of a heading, and of what joins two parts.
_AROUND = 6
#: Of an estimate, what it may be too low.
_MARGIN = 1.05
_MOST_TRIES = 4
#: Of the context, what may be counted at once.
_COUNTED_SHARE = 3 / 4


@dataclass(frozen=True, slots=True)
class Compressed:
    """What takes a conversation's place.

    `summary` stands for what is not word for word in `messages`; of a conversation that is
    unchanged it is all that was said. `verbatim` are the places of messages that are there word for
    word. `tokens` are those of all `messages`, `original_tokens` those of the conversation: an
    estimate where it is longer than the model's context.
    """

    summary: str
    messages: list[dict[str, Any]]
    verbatim: list[int]
    original_tokens: int
    tokens: int
    is_unchanged: bool = False


@dataclass(frozen=True)
class _Draft:
    """A choice: the last exchanges, strings to keep, findings, and a summary."""

    talk: Talk
    tail: Sequence[Sequence[int]] = ()
    findings: Sequence[Finding] = ()
    summary: str = ""

    @property
    def verbatim(self) -> list[int]:
        return [place for part in self.tail for place in part]

    @property
    def memory(self) -> Memory:
        notes = [one.note for one in self.findings]
        kept = self.talk.kept(self.verbatim, notes)
        return Memory((*kept, *notes), self.summary)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return messages_of(self.talk.rules, self.memory, self.talk.given(self.verbatim))

    @property
    def text(self) -> str:
        return transcript(self.messages)


def compressed(ask: Steps, talk: Talk, target_tokens: int, keep_last: int) -> Compressed:
    """The conversation in at most `target_tokens` tokens; as it is, if it fits so and a chat model
    can be sent it.

    Raises InvalidRequest if rules and the strings to keep leave no room, InvalidOutput if nothing
    of the conversation fits beside them, and what a step raises.
    """
    whole = talk.whole()
    tokens = tokens_if_near(ask, transcript(whole), target_tokens) if talk.can_be_sent else None
    if tokens is not None:
        said = [one for one in whole if one["role"] != "system"]
        summary = transcript(said)
        return Compressed(summary, whole, list(range(len(talk.turns))), tokens, tokens, True)
    return _Compressor(ask, talk, target_tokens, keep_last).run()


class _Compressor:
    def __init__(self, ask: Steps, talk: Talk, target: int, keep_last: int) -> None:
        self._ask, self._talk = ask, talk
        self._target, self._keep_last = target, keep_last
        whole = transcript(talk.whole())
        self._original = self._counted(whole)
        #: Tokens for each byte: of what was said, and of notes.
        self._rate = self._note_rate = self._original / len(whole.encode())

    def run(self) -> Compressed:
        """See compressed."""
        draft = self._with_notes(_Draft(self._talk, self._tail()))
        draft = self._fitting(self._with_summary(draft))
        draft, tokens = self._filled(draft)
        systems = [p for p, turn in enumerate(self._talk.turns) if turn.role == "system"]
        return Compressed(
            draft.memory.text,
            draft.messages,
            sorted([*systems, *draft.verbatim]),
            self._original,
            tokens,
        )

    # --- sizes ---------------------------------------------------------------------------------

    def _counted(self, text: str) -> int:
        """The tokens of a text; of one that is longer than the context, by the rate of its head."""
        most = int(self._ask.context_tokens * _COUNTED_SHARE)
        likely = self._ask.likely_tokens(text)
        if likely <= most:
            return self._ask.count(text)
        head = text[: max(1, len(text) * most // likely)]
        return self._ask.count(head) * len(text) // len(head)

    def _size(self, text: str) -> int:
        """About the tokens of a text of this conversation."""
        return math.ceil(len(text.encode()) * self._rate * _MARGIN) + 1

    def _left(self, draft: _Draft) -> int:
        """Tokens that a draft leaves of the budget, as the model counts them."""
        return self._target - self._ask.count(draft.text)

    # --- word for word -------------------------------------------------------------------------

    def _tail(self) -> list[list[int]]:
        """The last exchanges, as many as fit and leave room for the rest."""
        room = self._room_beside_rules() * (1 - _REST_SHARE)
        tail: list[list[int]] = []
        for exchange in reversed(self._talk.exchanges):
            room -= self._size(self._talk.text(exchange)) + 1
            have = sum(map(len, tail))
            if have >= self._keep_last or room < 0 or not self._talk.is_complete(exchange):
                break
            tail.insert(0, exchange)
        return tail

    def _room_beside_rules(self) -> int:
        bare = _Draft(self._talk)
        fixed = self._ask.count(bare.text) if bare.text else 0
        if fixed >= self._target:
            raise InvalidRequest(
                f"target_tokens: the system messages and keep take {fixed} tokens, which leaves "
                f"nothing of {self._target} to the conversation",
                "Ask for more tokens, or keep less word for word.",
            )
        return self._target - fixed

    # --- notes ---------------------------------------------------------------------------------

    def _candidates(self, draft: _Draft, found: Sequence[Finding]) -> list[Finding]:
        """Findings that do not stand word for word in the rules or the last turns."""
        there = self._talk.rules.casefold() + self._talk.text(draft.verbatim).casefold()
        return [one for one in found if one.text.casefold() not in there]

    def _note_size(self, note: str) -> int:
        return math.ceil(len(f"- {note}\n".encode()) * self._note_rate)

    def _with_notes(self, draft: _Draft) -> _Draft:
        """The draft with notes, so that it fits; with fewer last turns if it would not without."""
        candidates = self._candidates(draft, self._talk.found)
        without = self._left(draft)
        room = without - _AROUND
        for _ in range(_MOST_TRIES):
            noted = replace(draft, findings=chosen(candidates, self._note_size, room))
            if not noted.findings:
                break
            left = self._left(noted)
            if left >= summary_tokens(room):
                return noted
            # Notes have more signs and digits than the talk around them, so more tokens.
            size = sum(self._note_size(one.note) for one in noted.findings)
            self._note_rate *= max(1.02, (without - left) / size)
        if without < 0 and draft.tail:
            return self._with_notes(replace(draft, tail=draft.tail[1:]))
        return draft

    # --- summary -------------------------------------------------------------------------------

    def _with_summary(self, draft: _Draft) -> _Draft:
        """The draft with a summary of what is not in it word for word, if a sentence has room.

        Where there is neither a note nor a summary, sentences of the conversation stand for it.
        """
        said = self._said(draft)
        room = self._left(draft) - _AROUND
        if not said or (room < LEAST_SUMMARY_TOKENS and draft.findings):
            return draft
        summary = self._summary(said, room) if room > 0 else ""
        if summary or draft.findings:
            return replace(draft, summary=summary)
        plain = self._candidates(draft, self._talk.plain)
        if quoted := more((), plain, self._note_size, room):
            return replace(draft, findings=quoted)
        if not draft.tail:
            raise InvalidOutput(
                f"no sentence fits into the {max(0, room)} tokens that system messages and keep "
                f"leave of {self._target}",
                "Ask for more tokens, or keep less word for word.",
            )
        return self._with_summary(self._with_notes(replace(draft, tail=draft.tail[1:])))

    def _summary(self, said: Sequence[str], room: int) -> str:
        """What the model writes of it that somebody said; empty if no sentence of that fits."""
        try:
            written = summary_of(self._ask, said, room)
        except InvalidOutput:
            return ""
        return held_to(written.text, "".join(said), self._talk.gone)

    def _said(self, draft: _Draft) -> list[str]:
        """What is to be summarized, exchange by exchange."""
        verbatim = set(draft.verbatim)
        earlier = self._talk.earlier.text
        parts = [
            part
            for part in self._talk.exchanges
            if not verbatim & set(part)
            and any(self._talk.turns[place].text.strip() for place in part)
        ]
        return [
            *([f"{earlier}\n\n"] if earlier else []),
            *(f"{self._talk.text(part)}\n\n" for part in parts),
        ]

    # --- the last tokens -----------------------------------------------------------------------

    def _fitting(self, draft: _Draft) -> _Draft:
        """The draft, shortened where its parts together take more than each of them took.

        What is gone is told by one sentence at least: the last turns go before that does.
        """
        while self._left(draft) < 0:
            told = sentences(draft.summary)
            if len(told) > 1 or (told and draft.findings):
                draft = replace(draft, summary="".join(told[:-1]).strip())
            elif len(draft.findings) > 1:
                draft = replace(draft, findings=draft.findings[1:])
            elif draft.tail:
                bare = _Draft(self._talk, draft.tail[1:])
                draft = self._with_summary(self._with_notes(bare))
            else:
                raise InvalidOutput(
                    f"nothing of the conversation fits into {self._target} tokens",
                    "Ask for more tokens, or keep less word for word.",
                )
        return draft

    def _filled(self, draft: _Draft) -> tuple[_Draft, int]:
        """The draft with more notes in what the summary has left, and its tokens."""
        left = self._left(draft)
        candidates = self._candidates(draft, self._talk.found)
        room = left - _AROUND
        for _ in range(2):
            wider = more(draft.findings, candidates, self._note_size, room)
            if len(wider) == len(draft.findings):
                break
            filled = replace(draft, findings=wider)
            if (now_left := self._left(filled)) >= 0:
                return filled, self._target - now_left
            room = int((room + now_left) * 0.8)
        return draft, self._target - left
