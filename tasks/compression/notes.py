"""Which findings become notes when not all fit: the most that is exact for the fewest tokens."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from local_llm_service.tasks.compression.findings import Finding, Purpose
from local_llm_service.tasks.compression.values import WEIGHTS

#: What it costs to lose a sentence for what it is there for, against a name in it.
PURPOSE_WEIGHTS: dict[Purpose, float] = {
    "constraint": 4.0,
    "decision": 2.0,
    "preference": 2.0,
    "state": 2.0,
}
#: The same for a word that no chosen sentence has.
WORD_WEIGHT = 0.1
#: Share of the room that constraints take before anything else does.
CONSTRAINT_SHARE = 1 / 3
#: Share of the room that is left to the summary, where that is enough for a sentence.
SUMMARY_SHARE = 1 / 10
LEAST_SUMMARY_TOKENS = 24


def chosen(found: Sequence[Finding], tokens: Callable[[str], int], room: int) -> list[Finding]:
    """Findings for notes, in the order of the conversation, and beside them room for a summary.

    Constraints come first, up to a share; then what adds most for its tokens, which `tokens` tells
    of a note. In little room notes come before the summary, which then has what they leave.
    """
    summary = summary_tokens(room)
    picked = Picked(tokens)
    picked.take((one for one in found if "constraint" in one.purposes), room * CONSTRAINT_SHARE)
    picked.take(found, room - summary)
    return picked.findings


def summary_tokens(room: int) -> int:
    """What of the room beside the last turns no note may take; none of a little room."""
    share = int(room * SUMMARY_SHARE)
    return share if share >= LEAST_SUMMARY_TOKENS else 0


def more(
    picked: Sequence[Finding], found: Sequence[Finding], tokens: Callable[[str], int], room: int
) -> list[Finding]:
    """The findings that are picked, and others for so many tokens more."""
    wider = Picked(tokens, picked)
    wider.take(found, room)
    return wider.findings


class Picked:
    """Findings that are chosen one after the other, the best for its tokens first.

    A value that is chosen already adds nothing. `room` counts what is taken, not what was picked
    from the start.
    """

    def __init__(self, tokens: Callable[[str], int], picked: Sequence[Finding] = ()) -> None:
        self._tokens = tokens
        self._findings = dict.fromkeys(picked)
        self._said = {word for one in picked for word in _content(one)}
        self._spent = 0

    @property
    def findings(self) -> list[Finding]:
        """What was taken, in the order of the conversation."""
        return sorted(self._findings, key=lambda one: one.order)

    def take(self, found: Iterable[Finding], room: float) -> None:
        """Take the best ones until so many tokens are spent since the beginning."""
        queue = [(-self._worth(one), one.order, one) for one in found if one not in self._findings]
        heapq.heapify(queue)
        while queue:
            _, order, one = heapq.heappop(queue)
            worth = self._worth(one)
            # What was taken since may have made it worth less: worth never grows.
            if queue and worth < -queue[0][0]:
                heapq.heappush(queue, (-worth, order, one))
            elif worth > 0 and self._spent + self._tokens(one.note) <= room:
                self._findings[one] = None
                self._spent += self._tokens(one.note)
                self._said |= _content(one)

    def _worth(self, one: Finding) -> float:
        """What a finding adds, for each of its tokens."""
        weights = {value.text: WEIGHTS[value.kind] for value in one.values}
        exact = sum(weight for text, weight in weights.items() if text not in self._said)
        purposes = sum(PURPOSE_WEIGHTS.get(purpose, 0.0) for purpose in one.purposes)
        worth = exact + purposes + WORD_WEIGHT * len(one.words - self._said)
        # What is said again and again is a phrase of courtesy more often than a fact.
        return worth / one.times / self._tokens(one.note)


def _content(one: Finding) -> set[str]:
    return {value.text for value in one.values} | one.words
