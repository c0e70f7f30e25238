"""A prompt as numbers of buckets, each of which many words share: what a fitted router knows."""

from __future__ import annotations

import re
from array import array
from zlib import crc32

from local_llm_service.tasks.routing.structure import WIDE, ends

#: Few, so that a bucket does not say which word fell into it. Raise FORMAT of router_file.py with
#: any change of what is here.
BUCKETS = 4096
#: Words of either half that count.
_WORDS = 150

_WIDE = re.compile(f"[{WIDE}]")
_WORD = re.compile(r"\w+")


def buckets(prompt: str) -> array[int]:
    """The buckets of a prompt's words and of its pairs of neighbours, each once, in order.

    A Chinese, Japanese or Korean character is a word. Of long prompts the beginning and the end
    count. The same in every process, on every machine.
    """
    found: set[int] = set()
    for words in _words(prompt):
        before = 0
        for word in words:
            hashed = crc32(word.encode("utf-8", "surrogatepass"))
            found.add(hashed % BUCKETS)
            if before:
                found.add(crc32(b"%d" % hashed, before) % BUCKETS)
            before = hashed
    return array("H", sorted(found))


def _words(prompt: str) -> list[list[str]]:
    """Words in a row, of the beginning and of the end."""
    found = []
    for part in ends(prompt):
        folded = part.casefold()
        if _WIDE.search(folded):
            folded = _WIDE.sub(r" \g<0> ", folded)
        found.append(_WORD.findall(folded))
    if len(found) == 2:
        return [found[0][:_WORDS], found[1][-_WORDS:]]
    words = found[0]
    return [words] if len(words) <= 2 * _WORDS else [words[:_WORDS], words[-_WORDS:]]
