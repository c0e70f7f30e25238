"""Which findings a later one replaces: "the deadline is Friday" and then "it moved to Monday".

It is a guess from words, for notes and summaries alone: what stays word for word stays in any case.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from local_llm_service.tasks.compression.cues import words_of
from local_llm_service.tasks.compression.findings import Finding, Purpose

#: What two findings must have in common, in bits, for one to be about what the other is.
LEAST_COMMON_BITS = 4.0
#: The same where both say which of several exclusive things is wanted.
LEAST_EITHER_BITS = 2.0
#: What it says that two identifiers begin alike, as "feature/a" and "feature/b".
_FAMILY_BITS = 4.0
#: Of a word's findings, so many are looked at, the latest: a long talk takes no endless time.
_MOST_LOOKED_AT = 64
#: In a short talk every word is rare: as many findings are thought to be there at least.
_LEAST_TOTAL = 31
#: Kinds of values that can take each other's place.
_SAME = {"time": "date", "number": "amount", "path": "id", "quoted": "name"}
_FAMILY = re.compile(r"[^\W\d_]{2,}(?=[/_-])")
_WISHES: frozenset[Purpose] = frozenset({"constraint", "preference"})


def replaced(found: Sequence[Finding]) -> set[Finding]:
    """The findings whose place a later one took, in whatever words.

    A later one replaces the earlier ones that are its own sentence with another value. One that
    says "now", "moved", "instead" replaces the one earlier finding that is most alike and has a
    value of the same kind; and so does a wish of which only one can hold.
    """
    seen = _Seen(found)
    stale: set[Finding] = set()
    for later in found:
        stale |= {one for one in seen.same_sentence(later) if _is_said_again(one, later)}
        bits = {
            one: shared
            for one, shared in seen.alike(later).items()
            if one not in stale and _is_replaced(one, later, shared)
        }
        if bits:
            stale.add(max(bits, key=lambda one: (bits[one], one.order)))
        seen.add(later)
    return stale


def gone_values(found: Sequence[Finding], stale: set[Finding]) -> set[str]:
    """Values, and words of exclusive wishes, that only replaced findings hold."""
    current = {text for one in found if one not in stale for text in _exact(one)}
    return {text for one in stale for text in _exact(one)} - current


def _exact(finding: Finding) -> set[str]:
    return {value.text for value in finding.values}.union(*_choices(finding).values())


class _Seen:
    """The findings so far, by what they have in common with a later one."""

    def __init__(self, found: Sequence[Finding]) -> None:
        self._counts = Counter(word for one in found for word in _keys(one))
        self._total = max(len(found), _LEAST_TOTAL)
        self._by_key: dict[str, deque[Finding]] = defaultdict(lambda: deque(maxlen=_MOST_LOOKED_AT))
        self._by_frame: dict[str, deque[Finding]] = defaultdict(
            lambda: deque(maxlen=_MOST_LOOKED_AT)
        )

    def add(self, one: Finding) -> None:
        """Look at it from now on."""
        for key in _keys(one):
            self._by_key[key].append(one)
        if one.values:
            self._by_frame[_frame(one)].append(one)

    def same_sentence(self, later: Finding) -> list[Finding]:
        """Findings in the same words, but for their values."""
        return list(self._by_frame[_frame(later)]) if later.values else []

    def alike(self, later: Finding) -> dict[Finding, float]:
        """How much earlier ones say of the same thing, in bits; a word that few have says more."""
        bits: dict[Finding, float] = defaultdict(float)
        if later.is_update or _choices(later):
            for key in _keys(later):
                is_family = key.endswith("/")
                worth = math.log2((self._total + 1) / self._counts[key])
                for one in self._by_key[key]:
                    bits[one] += _FAMILY_BITS if is_family else worth
        return bits


def _keys(finding: Finding) -> set[str]:
    """What it is about: its words, and how its identifiers begin."""
    firsts = (_FAMILY.match(one.text) for one in finding.values if one.kind in ("id", "path"))
    return {*finding.words, *(f"{first.group()}/" for first in firsts if first)}


# --- One pair -------------------------------------------------------------------------------------


def _is_said_again(earlier: Finding, later: Finding) -> bool:
    """Whether it is the same sentence with one value changed, which is not what it is about."""
    pairs = zip(earlier.values, later.values, strict=True)
    changed = [(old, new) for old, new in pairs if old.text != new.text]
    return (
        earlier.place != later.place
        and len(changed) == 1
        and _says_value(later, changed[0][1].start)
    )


def _says_value(finding: Finding, start: int) -> bool:
    """Whether a value is what a sentence says, not what it is about, as in "Item 3 is late"."""
    before = finding.text[:start].rstrip()
    return before.endswith((":", "=")) or len(before.split()) > 2


def _frame(finding: Finding) -> str:
    """The text with its kind in the place of each value."""
    parts, end = [], 0
    for value in finding.values:
        parts += [finding.text[end : value.start], f"<{value.kind}>"]
        end = value.end
    return " ".join("".join([*parts, finding.text[end:]]).casefold().split())


def _is_replaced(earlier: Finding, later: Finding, bits: float) -> bool:
    if earlier.place == later.place:
        return False
    if bits >= LEAST_EITHER_BITS and _either_or(earlier, later):
        return True
    if bits < LEAST_COMMON_BITS or not later.is_update:
        return False
    there = {value.text for value in later.values}
    new = {_SAME.get(one.kind, one.kind) for one in later.values}
    old = {_SAME.get(one.kind, one.kind) for one in earlier.values if one.text not in there}
    return bool(new & old - {"name"} and _may_be_one(earlier, later)) or _is_other_name(
        earlier, later
    )


def _names(finding: Finding) -> set[str]:
    return {value.text for value in finding.values if value.kind == "name"}


def _may_be_one(earlier: Finding, later: Finding) -> bool:
    """Whether they do not name different persons, places or products."""
    old, new = _names(earlier), _names(later)
    return not old or not new or bool(old & new)


def _is_other_name(earlier: Finding, later: Finding) -> bool:
    """Whether one name took the place of one; with two, another thing is said of another one."""
    old, new = _names(earlier), _names(later)
    return len(old - new) == len(new - old) == 1


def _either_or(earlier: Finding, later: Finding) -> bool:
    """Whether both say which of several they want, and not the same."""
    if later.role != "user" or not earlier.purposes & _WISHES:
        return False
    old, new = _choices(earlier), _choices(later)
    return any(old[group] - new[group] for group in old.keys() & new.keys())


def _choices(finding: Finding) -> dict[str, set[str]]:
    said = set(re.findall(r"\w+", finding.text.casefold()))
    found = {group: said & set(words) for group, words in words_of("either").items()}
    return {group: words for group, words in found.items() if words}
