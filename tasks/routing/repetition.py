"""Tells a text that ends in a loop: the same words again and again until it is stopped."""

from __future__ import annotations

from typing import Final

#: How much of the end is looked at, characters.
_END_CHARACTERS: Final = 2000
#: What comes so often in a row is a loop. A line of a table or a rule of dashes is no loop: that
#: much of the end has to be one.
LEAST_TIMES: Final = 6
LEAST_CHARACTERS: Final = 240


def ends_in_a_loop(text: str) -> bool:
    """Whether the end of a text is one passage, of any length, repeated without a break."""
    end = text.rstrip()[: -_END_CHARACTERS - 1 : -1]  # backwards: the last passage may be cut
    if len(end) < LEAST_CHARACTERS:
        return False
    # At each place the length of the longest border (prefix and suffix alike) of what is before
    # it: Knuth, Morris and Pratt's table. A text of period p has a border of its length less p.
    borders = [0] * len(end)
    length = 0
    for place in range(1, len(end)):
        while length and end[place] != end[length]:
            length = borders[length - 1]
        if end[place] == end[length]:
            length += 1
        borders[place] = length
        run, period = place + 1, place + 1 - length
        if run >= LEAST_CHARACTERS and run >= LEAST_TIMES * period:
            return True
    return False
