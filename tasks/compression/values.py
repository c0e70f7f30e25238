"""What is exact in a text: addresses, identifiers, dates, amounts, numbers, names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from local_llm_service.tasks.compression.cues import groups_by_word, words_of

#: How much the loss of one costs, against that of a phrase in quotes.
WEIGHTS = {
    "url": 3.0,
    "email": 3.0,
    "id": 2.5,
    "amount": 2.5,
    "date": 2.0,
    "zone": 2.0,
    "path": 2.0,
    "time": 2.0,
    "number": 2.0,
    "quoted": 1.0,
    "name": 1.5,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value, its kind (a key of WEIGHTS), and where it stands in its text.

    `text` is what equals: without case, signs at its end, and separators of thousands.
    """

    kind: str
    text: str
    start: int
    end: int


def values(text: str) -> list[Value]:
    """The values of a text, in their order. Each place of the text belongs to one at most."""
    exact = [_value(match.lastgroup or "", match) for match in _exact().finditer(text)]
    rest = _without(text, exact)
    names = [_value("name", match) for match in _NAME.finditer(rest) if _is_name(rest, match)]
    return sorted([*exact, *names], key=lambda one: one.start)


def _without(text: str, found: Sequence[Value]) -> str:
    """The text with a sign of no meaning in the place of each value's characters."""
    parts, end = [], 0
    for value in found:
        parts += [text[end : value.start], "\0" * (value.end - value.start)]
        end = value.end
    return "".join([*parts, text[end:]])


def _value(kind: str, match: re.Match[str]) -> Value:
    plain = match.group().strip(" .,;:!?'\"“”‘’«»()[]").casefold()
    return Value(kind, plain_digits(plain), match.start(), match.end())


def plain_digits(text: str) -> str:
    """The text without separators of thousands."""
    return re.sub(r"(?<=\d)[,'’](?=\d{3})", "", text)


# A word that begins a sentence has a capital in any case; two of them make a name all the same.
_NAME = re.compile(r"(?<!\w)[^\W\d_a-zß-öø-ÿ][\w'’-]*(?:[ \t]+[^\W\d_a-zß-öø-ÿ][\w'’-]*)*(?![\w/])")
_BEFORE_SENTENCE = re.compile(r"(?:^|[.!?:。！？…\n]|[-*•])[\"'“‘(\s]*$")
_ASIDE = frozenset({"i", "i'm", "i’m", "i've", "i’ve", "i'd", "i’d", "i'll", "i’ll", "ok"})


def _is_name(text: str, match: re.Match[str]) -> bool:
    name = match.group()
    if name.casefold() in _ASIDE or not name[0].isupper():
        return False
    if _BEFORE_SENTENCE.search(text, max(0, match.start() - 4), match.start()):
        is_label = text[match.end() : match.end() + 1] in (":", "：")
        return not is_label and (" " in name or (name.isupper() and len(name) > 1))
    return True


@cache
def _exact() -> re.Pattern[str]:
    """All but names. No part repeats what it can read in two ways, so that time grows as text."""
    days = "|".join(map(re.escape, sorted(words_of("dates")["names"], key=len, reverse=True)))
    words = "|".join(sorted(words_of("numbers")["words"], key=len, reverse=True))
    units = "|".join(map(re.escape, sorted(words_of("numbers")["units"], key=len, reverse=True)))
    zones = "|".join(z for z, group in groups_by_word("either").items() if group == "zone")
    left, right = r"(?<![A-Za-z\d_])", r"(?![A-Za-z\d_])"
    spelled = rf"(?:{words})(?:[ -](?:and )?(?:{words}))*"
    digits = r"\d[\d,.'’]{0,30}\d|\d"
    return re.compile(
        rf"""
          (?P<url>https?://[^\s<>"'）」，。]+)
        | (?P<email>(?<![\w.+-])[\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}})+)
        | (?P<zone>(?<![\w/])(?:[A-Z][a-z]+/[A-Z][A-Za-z_/]+|(?i:{zones})(?i:[ ]time)?{right}))
        | (?P<path>(?<![\w/.])(?:[A-Za-z]:\\|~?/|\.{{1,2}}/)[\w.@+\-/\\]+
                 | (?<![\w/.-])[\w-]{{1,99}}/[\w./-]*[\d._][\w./-]*)
        | (?P<date>(?<![\w-])\d{{4}}-\d\d?-\d\d?(?![\w-])
                 | {left}\d\d?[./]\d\d?[./](?:\d{{4}}|\d\d){right}
                 | \d{{1,4}}[年月][\d年月日]*
                 | {left}(?i:may|{days})\.?[ ]\d{{1,2}}(?:st|nd|rd|th)?(?:,?[ ]\d{{4}})?{right}
                 | {left}\d{{1,2}}(?:st|nd|rd|th|\.)?[ ](?:of[ ])?(?i:may|{days})
                   (?:,?[ ]\d{{4}})?{right}
                 | {left}(?i:{days}){right})
        | (?P<time>{left}\d\d?:\d\d(?i:\s?[ap]\.?m\b\.?)?{right}
                 | {left}\d\d?(?i:\s?[ap]\.?m\b\.?))
        | (?P<amount>[$€£¥₹]\s?(?:{digits})(?i:\s?(?:k|m|bn|million|billion)\b)?
                   | {left}(?:{digits})[ -]?(?i:{units}){right}
                   | {left}(?i:{spelled}[ -](?:{units})){right})
        | (?P<id>(?<![A-Za-z\d_-])(?=[A-Za-z\d_.-]{{0,80}}\d)(?=[\d_.-]{{0,80}}[A-Za-z])
                 [A-Za-z\d_]+(?:[-.][A-Za-z\d_]+)*
               | {left}[A-Za-z]+_[A-Za-z\d_]+
               | {left}[a-z]+[A-Z][A-Za-z\d]*)
        | (?P<number>{left}(?:{digits}){right} | {left}(?i:{spelled}){right})
        | (?P<quoted>"[^"\n]{{2,80}}" | “[^”\n]{{2,80}}” | «[^»\n]{{2,80}}» | 「[^」\n]{{2,80}}」
                   | `[^`\n]{{2,80}}`)
        """,
        re.VERBOSE,
    )
