"""What may go to a terminal: text of a model or a caller must not drive it.

A terminal obeys control sequences: they move the cursor, change the title, or hide what stands
before them. On a terminal they are shown as escapes; in a pipe or file, text stays as it is.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

#: C0 and C1 control characters without tab and line feed, and the characters that turn the
#: direction of writing, by which a text can show another order than it has (CVE-2021-42574).
_CONTROLS: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x061C, 0x200E, 0x200F),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
_ESCAPES: Final = {
    code: f"\\u{code:04x}" for code in _CONTROLS if code not in (ord("\t"), ord("\n"))
}


def neutral(text: str) -> str:
    """`text` with each control character as an escape, which JSON can read, too."""
    return text.translate(_ESCAPES)


def write(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print one text and `end`; on a terminal, without the power to control it."""
    print(neutral(text) if stream.isatty() else text, file=stream, end=end)


def prepare_streams() -> None:
    """Let every text be printed, whatever the locale and the text: never UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def abandon(stream: TextIO) -> None:
    """Throw away what cannot be written, so that Python does not try again at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
