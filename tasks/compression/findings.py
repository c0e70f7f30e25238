"""What of a conversation must not be lost: sentences with rules, decisions, and exact values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from local_llm_service.tasks.compression.cues import cue, groups_by_word, leading_cue
from local_llm_service.tasks.compression.values import Value, values
from local_llm_service.tasks.texts.sentences import sentences

#: A line up to here is one finding, as its sentences lean on each other; a longer one is cut.
LINE_CHARS = 160
#: A sentence beyond this is no finding: it would take the place of several.
MOST_CHARS = 400
#: Letters by which two forms of a word count as the same.
STEM = 5

Purpose = Literal["constraint", "decision", "preference", "state", "value"]


@dataclass(frozen=True)
class Finding:
    """A sentence, or a short line, of a message, and what it is there for.

    `place` is the message's, `order` counts all findings of the conversation; `times`: how often it
    is said in the same words.
    """

    text: str
    place: int
    order: int
    role: str
    purposes: frozenset[Purpose]
    is_update: bool
    times: int = 1

    @property
    def is_weighty(self) -> bool:
        """Whether a summary in other words could lose what it says."""
        return bool(self.purposes or self.values)

    @property
    def note(self) -> str:
        """The text, with its speaker where that is not the user."""
        return self.text if self.role == "user" else f"{self.role}: {self.text}"

    @cached_property
    def values(self) -> list[Value]:
        """What is exact in it."""
        return values(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """What it is about: stems and known meanings of its words without the values."""
        rest, end = [], 0
        for value in self.values:
            rest.append(self.text[end : value.start])
            end = value.end
        return frozenset(subject_words(" ".join([*rest, self.text[end:]])))


def findings(texts: Iterable[tuple[int, str, str]]) -> list[Finding]:
    """The sentences of `(place, role, text)` of each message; what is said twice, once: the last.

    A line that begins with another role, as in notes of an earlier answer, is that role's.
    Constraints and wishes are what the user says. Of a tool's results only values count, and none
    in a sentence that gives orders: a page that a tool has read is not the user.
    """
    found: dict[str, Finding] = {}
    for order, (place, role, unit) in enumerate(
        (place, role, unit) for place, role, text in texts for unit in units(text)
    ):
        role, unit = _speaker(role, unit)
        purposes = _purposes(unit, role)
        finding = Finding(unit, place, order, role, purposes, bool(cue("update").search(unit)))
        if len(unit) <= MOST_CHARS and not (role == "tool" and _is_order(unit)):
            before = found.pop(key := " ".join(unit.casefold().split()), None)
            found[key] = replace(finding, times=1 + before.times) if before else finding
    return sorted(found.values(), key=lambda one: one.order)


def units(text: str) -> Iterator[str]:
    """Short lines as they are, longer ones by sentences; code in fences is left out."""
    is_code = False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            is_code = not is_code
        elif not is_code and (stripped := line.strip()):
            whole = [stripped] if len(stripped) <= LINE_CHARS else sentences(stripped)
            yield from (one.strip() for one in whole if one.strip())


def _speaker(role: str, unit: str) -> tuple[str, str]:
    """Whose words a line is: one that begins with another role is quoted."""
    speaker, colon, said = unit.partition(": ")
    return (speaker, said) if colon and speaker in ("assistant", "tool") else (role, unit)


_BY_ROLE: dict[str, tuple[Purpose, ...]] = {
    "user": ("decision", "preference", "state"),
    "assistant": ("decision", "state"),
}


def _purposes(unit: str, role: str) -> frozenset[Purpose]:
    purposes = {one for one in _BY_ROLE.get(role, ()) if cue(one).search(unit)}
    if role == "user" and _is_order(unit):
        purposes.add("constraint")
    return frozenset(purposes)


def _is_order(unit: str) -> bool:
    return bool(cue("constraint").search(unit) or leading_cue("directive").search(unit))


_WORD = re.compile(r"[^\W\d_][\w'’]*(?:-[\w'’]+)*")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{2,}")


def subject_words(text: str) -> Iterator[str]:
    """Stems of a text's words without those that say nothing; pairs of signs without spaces."""
    alike, empty = groups_by_word("alike"), groups_by_word("empty")
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        if word in empty or _UNSPACED.search(word):
            continue
        for part in (word, *word.split("-")) if "-" in word else (word,):
            yield part[:STEM]
            if part in alike:
                yield f"={alike[part]}"
    for run in _UNSPACED.findall(text):
        yield from (run[place : place + 2] for place in range(len(run) - 1))
