"""A prompt as numbers of buckets, each of which many words share: what a fitted router knows."""

from __future__ import annotations

import re
from array import array
from itertools import islice
from zlib import crc32

from local_llm_service.tasks.routing.structure import WIDE

#: Few, so that a bucket does not say which word fell into it. Raise FORMAT of router_file.py with
#: any change of what is here.
BUCKETS = 4096
#: Words of either end that count, and the characters in which they are looked for.
_WORDS, _CHARACTERS = 100, 800

_WORD = re.compile(rf"[{WIDE}]|[^\W{WIDE}]+")


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
    if len(prompt) <= 2 * _CHARACTERS:
        words = _WORD.findall(prompt.casefold())
        return [words] if len(words) <= 2 * _WORDS else [words[:_WORDS], words[-_WORDS:]]
    first, last = prompt[:_CHARACTERS].casefold(), prompt[-_CHARACTERS:].casefold()
    some = [one.group() for one in islice(_WORD.finditer(first), _WORDS)]
    return [some, _WORD.findall(last)[-_WORDS:]]
