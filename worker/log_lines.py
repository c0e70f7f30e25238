"""One log record is one line, whatever a caller has put into a name.

Task ids, task names and worker names come from callers. A line break or a terminal's control
sequence in one would write a line of its own into the log.
"""

from __future__ import annotations

import logging


def one_line(text: str) -> str:
    """`text` with each character that is not printable as an escape, such as `\\n` or `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def quote_log_lines() -> None:
    """Let each record of this process have a message of one line; tracebacks stay as they are."""
    logging.setLogRecordFactory(OneLineRecord)


class OneLineRecord(logging.LogRecord):
    """A log record whose message is one line."""

    def getMessage(self) -> str:
        """The message with its arguments, without a line break."""
        return one_line(super().getMessage())


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
