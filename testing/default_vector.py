"""The vectors of the scripted engine: texts that share words lie nearer to each other."""

from __future__ import annotations

import math
import re
import zlib

DIMENSIONS = 32
_WORD = re.compile(r"\w+")


def default_vector(text: str) -> list[float]:
    """A vector of length 1, the same in every process; of a text without words, the first axis."""
    numbers = [0.0] * DIMENSIONS
    for word in _WORD.findall(text.lower()):
        numbers[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    length = math.hypot(*numbers)
    if not length:
        return [1.0, *numbers[1:]]
    return [float(f"{number / length:.8g}") for number in numbers]
