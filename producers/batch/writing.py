"""Brings answers where they belong: into the output, in the input's order if asked, or a database.

An answer whose turn has not come waits in the ledger, not in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from local_llm_service.producers.batch.ledger import Aside, Ledger
from local_llm_service.producers.batch.output import Extent, Output, Standard

#: The most that is written at a time.
GROUP_BYTES: Final = 4 * 1024 * 1024
_AT_ONCE: Final = 200


class Pays(Protocol):
    """Writes answers into a database; see sql.py `Statement`."""

    def pay(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run the statement for each row, all in one transaction; False when it cannot now."""


class Writing:
    """The answers of one run. `output` and `statement` may each be missing."""

    def __init__(
        self,
        ledger: Ledger,
        output: Output | Standard | None,
        statement: Pays | None = None,
        *,
        ordered: bool = False,
    ) -> None:
        self._ledger, self._output, self._statement = ledger, output, statement
        self._ordered = ordered

    def begin(self) -> None:
        """Go back to the last commit. Raises InvalidRequest for an output that is not ours."""
        if self._output is not None:
            extent = Extent.of(self._ledger.about("output"))
            self._output.restore(extent, was_running=bool(self._ledger.about("running")))

    def add(self, number: int, row: Mapping[str, Any], line: Mapping[str, Any]) -> None:
        """Take an answer: a row for the statement, a line for the output."""
        if self._statement is not None:
            self._ledger.set_aside(Aside.OWED, number, json_line(row))
        if self._output is None:
            return
        text = json_line(line)
        if self._ordered:
            self._ledger.set_aside(Aside.HELD, number, text)
        else:
            self._output.add(text)

    def is_full(self) -> bool:
        """Whether so much waits for the disk that it should be written now."""
        return self._output is not None and self._output.group_bytes >= GROUP_BYTES

    @property
    def written_bytes(self) -> int:
        """How far the output is written and noted in the ledger."""
        return Extent.of(self._ledger.about("output")).size_bytes

    def flush(self, *, everything: bool = False) -> bool:
        """Write what can be written and note in the ledger how far; False while there is more.

        `everything`: no earlier line will come any more. Raises NotWritten.
        """
        if self._output is None:
            return True
        done = not self._ordered or self._release(self._output, everything=everything)
        self._ledger.keep("output", self._output.flush().plain())
        return done

    def pay(self) -> bool:
        """Run the statement for what is owed; False when the database cannot be written now."""
        while self._statement is not None and (owed := self._ledger.aside(Aside.OWED, _AT_ONCE)):
            if not self._statement.pay([json.loads(text) for _, text in owed]):
                return False
            for number, _ in owed:
                self._ledger.drop_aside(Aside.OWED, number)
            self._ledger.commit()
        return True

    def _release(self, output: Output | Standard, *, everything: bool) -> bool:
        """Hand over the answers whose turn has come; False while there are more."""
        end = None if everything else self._ledger.first_open()
        while held := self._ledger.aside(Aside.HELD, _AT_ONCE, before=end):
            for number, text in held:
                output.add(text)
                self._ledger.drop_aside(Aside.HELD, number)
            if self.is_full():
                return False
        return True


def json_text(value: object) -> str:
    """One line of JSON, readable where it can be."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which UTF-8 cannot hold but JSON can
        return json.dumps(value)
    return text


def json_line(value: object) -> bytes:
    """One line of a JSON lines file."""
    return json_text(value).encode() + b"\n"
