"""Reads a `pattern` as Ollama's converter does, to find what it cannot take (grammar_limits.toml).

It looks for what is known to be safe, not for what is known to kill: an escape or a group that
nobody has tried is left out with the rest.
"""

from __future__ import annotations

import re

from local_llm_service.worker.engine.ollama.grammar_limits import GrammarLimits

_QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(?:(,)(\d*))?\}")
_CLASS = re.compile(r"\[\^?((?:\\.|[^\]\\])*)\]", re.DOTALL)
_LAST_ESCAPES = re.compile(r"(\\*)\$\Z")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def unfit(pattern: str, limits: GrammarLimits) -> str | None:
    """The name of the rule that a pattern breaks; None when it can be sent."""
    if len(pattern) < 2 or not (pattern.startswith("^") and pattern.endswith("$")):
        return "pattern_ends"
    if len(_LAST_ESCAPES.findall(pattern)[0]) % 2:
        return "pattern_ends"  # the $ is a character
    if len(pattern) > limits.most("pattern_length"):
        return "pattern_length"
    broken = _Reader(pattern[1:-1], limits).read()
    return next((rule for rule in broken if rule in limits), None)


class _Reader:
    """One pass over the inside of a pattern."""

    def __init__(self, text: str, limits: GrammarLimits) -> None:
        self._text, self._limits, self._place = text, limits, 0
        self._broken: list[str] = []
        #: Whether a quantifier may follow, and how many characters of a literal stand before it.
        self._item, self._literal = False, 0
        self._after_escape = False

    def read(self) -> list[str]:
        """The rules that are broken, in order."""
        while self._place < len(self._text):
            step = {
                "\\": self._escape, "(": self._open, ")": self._close, "[": self._class,
                "]": self._unpaired, "}": self._unpaired, "|": self._bar, "^": self._anchor,
                "$": self._anchor, "*": self._quantifier, "+": self._quantifier,
                "?": self._quantifier, "{": self._quantifier, ".": self._dot,
            }.get(self._text[self._place], self._character)  # fmt: skip
            step()
        return self._broken

    def _went(self, length: int = 1, *, item: bool, literal: int = 0, escape: bool = False) -> None:
        self._place += length
        self._item, self._literal, self._after_escape = item, literal, escape

    def _character(self) -> None:
        self._went(item=True, literal=self._literal + 1)

    def _dot(self) -> None:
        self._went(item=True)

    def _unpaired(self) -> None:
        self._broken.append("pattern_unpaired")
        self._went(item=True)

    def _anchor(self) -> None:
        self._broken.append("pattern_anchor")
        self._went(item=True)

    def _bar(self) -> None:
        self._went(item=False)

    def _escape(self) -> None:
        following = self._text[self._place + 1 : self._place + 2]
        if "pattern_escape" in self._limits and not self._is_known(following, outside=True):
            self._broken.append("pattern_escape")
        self._went(2, item=True, literal=self._literal + 1, escape=True)

    def _is_known(self, character: str, *, outside: bool) -> bool:
        known = self._limits.characters("pattern_escape", "only")
        if outside:
            known += self._limits.characters("pattern_escape", "outside")
        return character != "" and character in known

    def _open(self) -> None:
        if self._text[self._place + 1 : self._place + 2] in ("?", "*", "+", "{"):
            self._broken.append("pattern_group")
            self._place += 1  # read on behind it
        self._went(item=False)

    def _close(self) -> None:
        self._went(item=True)

    def _class(self) -> None:
        found = _CLASS.match(self._text, self._place)
        if found is None or not found[1]:  # []a] and [^]a] are classes for Python alone
            self._broken.append("pattern_unpaired")
            self._went(item=True)
            return
        if "pattern_escape" in self._limits:
            escaped = _ESCAPED.findall(found[1])
            if not all(self._is_known(one, outside=False) for one in escaped):
                self._broken.append("pattern_escape")
        self._went(len(found[0]), item=True)

    def _quantifier(self) -> None:
        found = _QUANTIFIER.match(self._text, self._place)
        if found is None or found[0] in ("{}", "{,}"):
            self._broken.append("pattern_unpaired")  # a brace that counts nothing
            self._went(item=True)
            return
        if not self._item:
            self._broken.append("pattern_group")
        if self._after_escape and self._literal > 1:
            self._broken.append("pattern_quantifier")
        numbers = [int(number[:6]) for number in (found[1], found[3]) if number]
        if max(numbers, default=0) > self._limits.most("repetition"):
            self._broken.append("repetition")
        self._went(len(found[0]), item=True)
