"""A text's sentences, in any script, and whether its last one is finished.

Where a sentence ends inside a paragraph is for sentencex to say, which knows the full stops of all
scripts, and abbreviations. Around it: list items, table rows and code, and scripts without stops.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from local_llm_service.tasks.texts.blocks import Block, Form, blocks
from local_llm_service.tasks.texts.scripts import (
    FULL_STOPS,
    PHRASE_BREAK,
    PHRASE_SCRIPTS,
    full_stop,
    language_of,
    script_of,
)

#: Characters that are read at a time: sentencex takes the square of a text's length where full
#: stops of Chinese abound. No sentence is longer.
_WINDOW = 4_000
#: Characters before an end that can tell whether it is one.
_TAIL = 300
#: Characters that tell in which script a sentence ends.
_LAST_LETTERS = 3
#: What may stand between a full stop and the end of its sentence, beside quotes and brackets.
_CLOSING = "*_~`\"'”’»›)]}）」』】》〉"
#: What neither letters nor white space are.
_MARK = re.compile(r"[^\w\s]")
#: The number of a list's item, and nothing of the item.
_NUMBER_ALONE = re.compile(r"\W*(?:\d{1,3}|[A-Za-z])[.)]\s*")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with the white space after it, or what stands in a text instead of one.

    `is_finished` by a mark of its script, or by its form: a closed block of code, a table's row, a
    list's item before a next line. A heading, or a line that announces what follows, is not.
    """

    text: str
    form: Form
    is_finished: bool


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the white space after it; together they are the text."""
    return [sentence.text for sentence in parsed(text)]


def whole_sentences(text: str) -> str:
    """The text without an unfinished sentence at its end; empty if it has no finished one."""
    return _up_to_finished(parsed(text.lstrip()))


def finished(text: str) -> str:
    """What a model wrote and ended by itself, in whole sentences.

    A last line of a list counts as one, and so does a text without any full stop, which gets one.
    Empty if nothing of it is a statement.
    """
    found = parsed(text.strip())
    while found and not _says_something(found[-1].text):
        found.pop()
    if found and _may_end(found[-1]):
        found[-1] = replace(found[-1], is_finished=True)
    if kept := _up_to_finished(found):
        return kept
    while found and (found[-1].form is not Form.PROSE or _announces(found[-1].text)):
        found.pop()
    if not found:
        return ""
    plain = "".join(one.text for one in found).rstrip(" \n\t,;-–—")
    return plain if plain.endswith((".", "…")) else plain + full_stop(_last_script(plain))


def _may_end(sentence: Sentence) -> bool:
    """Whether a sentence is one that a model may well end with, though nothing else shows it."""
    if sentence.form is Form.ITEM:
        return "\n" not in sentence.text.strip() and not _announces(sentence.text)
    if sentence.form is not Form.PROSE:
        return False
    # An abbreviation, or dots; or a script that has no full stop.
    end = sentence.text.rstrip().rstrip(_CLOSING)
    return end.endswith((".", "…")) or not full_stop(_last_script(end))


def parsed(text: str) -> list[Sentence]:
    """The sentences of a text with what is known of them; together they are the text."""
    return [sentence for block in blocks(text) for sentence in _in_block(block)]


def _up_to_finished(found: list[Sentence]) -> str:
    kept = len(found)
    while kept and not found[kept - 1].is_finished:
        kept -= 1
    return "".join(sentence.text for sentence in found[:kept]).rstrip()


def _in_block(block: Block) -> Iterator[Sentence]:
    if block.form in (Form.CODE, Form.OPEN_CODE, Form.HEADING, Form.ROW):
        is_finished = block.form is Form.CODE or (
            block.form is Form.ROW and block.text.rstrip().endswith("|")
        )
        yield Sentence(block.text, block.form, is_finished)
        return
    marker = block.marker
    script = script_of(block.text)
    first, *others = _joined(_segments(block.text[len(marker) :], script))
    parts = [marker + first, *others]
    form = block.form  # of the first sentence; what follows in a list's item is prose
    for part in parts[:-1]:
        yield Sentence(part, form, is_finished=True)
        form = Form.PROSE
    yield Sentence(parts[-1], form, _ends(parts[-1], form, script))


def _segments(text: str, script: str) -> Iterator[str]:
    """Parts of a paragraph, by sentencex and, where a script needs it, by spaces."""
    for begin, end in _bounds(text, language_of(script)):
        place = begin
        if script in PHRASE_SCRIPTS:
            for space in PHRASE_BREAK.finditer(text, begin, end):
                yield text[place : space.end()]
                place = space.end()
        yield text[place:end]


def _bounds(text: str, language: str) -> Iterator[tuple[int, int]]:
    begin = 0 if _MARK.search(text) else len(text)
    if begin:  # without a mark of any kind: one sentence, for which nobody needs to be asked
        yield 0, begin
    while begin < len(text):
        window = text[begin : begin + _WINDOW]
        starts = [begin + start for start in _starts(window, language)]
        is_last = begin + _WINDOW >= len(text)
        ends = [*starts[1:], begin + len(window)]
        known = list(zip(starts, ends, strict=True))
        if not is_last and len(known) > 1:
            known.pop()  # its end may lie beyond the window
        yield from known
        begin = known[-1][1]


def _starts(text: str, language: str) -> list[int]:
    """Where sentences begin, the first one at 0."""
    from sentencex import get_sentence_boundaries  # only a worker has it

    # Half a character, which Rust cannot read, counts as any other one.
    found = get_sentence_boundaries(language, text.encode("utf-8", "replace").decode())
    return sorted({0, *(one["start_index"] for one in found)} - {len(text)})


def _joined(segments: Iterator[str]) -> list[str]:
    """The segments, where what closes a sentence, or says nothing (an emoji), joins the former."""
    joined: list[list[str]] = [[]]
    for segment in segments:
        rest = segment.lstrip(_CLOSING)
        if not any(char.isalnum() for char in segment):
            joined[-1].append(segment)
        elif rest is not segment and rest[0].isspace():
            rest = rest.lstrip()
            joined[-1].append(segment[: len(segment) - len(rest)])
            joined.append([rest])
        else:
            joined.append([segment])
    return ["".join(parts) for parts in (joined if joined[0] else joined[1:] or [[]])]


def _ends(text: str, form: Form, script: str) -> bool:
    """Whether the last sentence of a block is finished."""
    stripped = text.rstrip()
    if not _says_something(stripped) or _announces(stripped):
        return False
    is_followed = text != stripped
    if is_followed and (form is Form.ITEM or _last_script(stripped) in PHRASE_SCRIPTS):
        return True
    if stripped[-1].isalnum():
        return False
    if not is_followed and stripped[-1] == "." and stripped[-2:-1].isdigit():
        return False  # the point may be a decimal one
    language = language_of(script)
    return any(_is_end(end, language) for end in {stripped, _without_closing(stripped)})


def _last_script(text: str) -> str:
    return script_of(text[-_LAST_LETTERS:])


def _is_end(text: str, language: str) -> bool:
    """Whether a sentence would end here if another one followed."""
    tail = text[-_TAIL:]
    begins = _starts(f"{tail} A", language)
    return text[-1:] in FULL_STOPS - {"."} or bool({len(tail), len(tail) + 1}.intersection(begins))


def _without_closing(text: str) -> str:
    end = len(text)
    while end > 1 and (text[end - 1] in _CLOSING or _is_picture(text[end - 1])):
        end -= 1
    return text[:end].rstrip()


def _is_picture(char: str) -> bool:
    """Whether a character is one of those that emoji are made of, or white space."""
    return unicodedata.category(char) in {"So", "Sk", "Mn", "Me", "Cf", "Zs"}


def _announces(text: str) -> bool:
    return text.rstrip().rstrip(_CLOSING).endswith((":", "："))


def _says_something(text: str) -> bool:
    """Whether a text has a letter or a digit, other than the number of a list's item."""
    return any(char.isalnum() for char in text) and not _NUMBER_ALONE.fullmatch(text)
