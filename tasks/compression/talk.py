"""A conversation as compression sees it: rules, an earlier answer's memory, and what was said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from local_llm_service.tasks.compression.findings import Finding, findings
from local_llm_service.tasks.compression.memory import Memory, is_memory
from local_llm_service.tasks.compression.messages import messages_of
from local_llm_service.tasks.compression.turns import Turn, exchanges, is_complete, transcript
from local_llm_service.tasks.compression.updates import gone_values, replaced
from local_llm_service.tasks.conversation import with_tool_names

#: The place of what an earlier answer's memory holds.
_EARLIER = -1


class Talk:
    """`turns` are all messages; places are their indices.

    `rules` is what system messages say, wherever they stand. `earlier` is the memory of an answer
    before this one: `previous_summary`, or the message that such an answer put at the head.
    """

    def __init__(self, turns: Sequence[Turn], keep: Sequence[str], previous_summary: str) -> None:
        self.turns, self._keep = turns, list(dict.fromkeys(keep))
        systems = [turn.content for turn in turns if turn.role == "system"]
        self.rules = "\n\n".join(text for text in systems if text.strip())
        said = [place for place, turn in enumerate(turns) if turn.role != "system"]
        heads = [previous_summary]
        if said and is_memory(turns[said[0]].role, turns[said[0]].content):
            heads.append(turns[said.pop(0)].content)
        memories = [Memory.read(head) for head in heads if head.strip()]
        self.earlier = Memory(
            tuple(note for one in memories for note in one.notes),
            "\n".join(one.summary for one in memories if one.summary),
        )
        self._is_new = not previous_summary.strip()
        #: Messages that belong together, oldest first; no system's.
        self.exchanges: list[list[int]] = [
            [said[index] for index in part] for part in exchanges([turns[place] for place in said])
        ]

    def given(self, places: Iterable[int]) -> list[dict[str, Any]]:
        """Messages as they came."""
        return [self.turns[place].given for place in places]

    def text(self, places: Iterable[int]) -> str:
        """What messages say, each behind its role."""
        return transcript(self.given(places))

    @property
    def can_be_sent(self) -> bool:
        """Whether `chat` takes the messages as they came: not a result whose call is not there."""
        try:
            with_tool_names(self.turns)
        except ValueError:
            return False
        return True

    def is_complete(self, exchange: Sequence[int]) -> bool:
        """Whether a model can be sent it without what stands before it."""
        is_last = exchange is self.exchanges[-1]
        return is_complete([self.turns[place] for place in exchange], is_last=is_last)

    def kept(self, places: Iterable[int], notes: Iterable[str]) -> list[str]:
        """The strings to keep that neither the rules nor one of these messages or notes holds."""
        texts = [self.rules, *(self.turns[place].text for place in places), *notes]
        return [one for one in self._keep if not any(one in text for text in texts)]

    def whole(self) -> list[dict[str, Any]]:
        """All of it, with the earlier memory and the strings to keep."""
        places = [place for part in self.exchanges for place in part]
        kept = self.kept(places, [*self.earlier.notes, self.earlier.summary])
        if self._is_new and not kept:
            return self.given(range(len(self.turns)))
        notes = (*kept, *self.earlier.notes)
        return messages_of(self.rules, Memory(notes, self.earlier.summary), self.given(places))

    @cached_property
    def found(self) -> list[Finding]:
        """What of it must not be lost, and no later message replaced."""
        return [one for one in self._weighty if one not in self._stale]

    @cached_property
    def plain(self) -> list[Finding]:
        """All other sentences: what it is quoted by where no summary can be had."""
        return [one for one in self._sentences if not one.is_weighty]

    @cached_property
    def gone(self) -> set[str]:
        """Values that are not so any more."""
        return gone_values(self._weighty, self._stale)

    @cached_property
    def _weighty(self) -> list[Finding]:
        return [one for one in self._sentences if one.is_weighty]

    @cached_property
    def _sentences(self) -> list[Finding]:
        said = [
            (place, self.turns[place].role, self.turns[place].content)
            for part in self.exchanges
            for place in part
        ]
        return findings([(_EARLIER, "user", "\n".join(self.earlier.notes)), *said])

    @cached_property
    def _stale(self) -> set[Finding]:
        return replaced(self._weighty)
