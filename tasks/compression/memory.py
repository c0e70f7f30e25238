"""What stands for the turns that are gone: notes, word for word, and a summary below them.

It is a message of the user's, so that nothing that was said gets more authority than it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADING = "Earlier in this conversation, quoted:"
SUMMARY_HEADING = "In short:"
_NOTE = "- "
#: Where the assistant speaks first, as templates want a user before it.
NOTHING_BEFORE = "Please begin."
#: What the assistant says to it where the user's next message follows.
ACKNOWLEDGED = "Understood."


@dataclass(frozen=True, slots=True)
class Memory:
    """`notes` are parts of the conversation, `summary` is what a model wrote of all of it."""

    notes: Sequence[str] = ()
    summary: str = ""

    @property
    def text(self) -> str:
        """Both, as a model reads them; empty without either."""
        parts = []
        if self.notes:
            parts.append("\n".join([HEADING, *(f"{_NOTE}{note}" for note in self.notes)]))
        if self.summary:
            parts.append(f"{SUMMARY_HEADING} {self.summary}")
        return "\n\n".join(parts)

    @classmethod
    def read(cls, text: str) -> Memory:
        """What an earlier answer's `summary` held; any other text is a summary without notes."""
        text = text.strip()
        head, has_summary, summary = text.rpartition(f"{SUMMARY_HEADING} ")
        if has_summary and (not head or head.startswith(HEADING)):
            text, summary = head.strip(), summary.strip()
        elif text.startswith(HEADING):
            summary = ""
        else:
            return cls((), text)
        notes: list[str] = []
        for line in text.splitlines()[1:]:
            if line.startswith(_NOTE):
                notes.append(line.removeprefix(_NOTE))
            elif notes:  # a note of several lines
                notes[-1] += f"\n{line}"
        return cls(tuple(notes), summary)


def is_memory(role: str, text: str) -> bool:
    """Whether a message is what an earlier answer put in the place of turns."""
    return role == "user" and text.startswith((HEADING, f"{SUMMARY_HEADING} "))
