"""What a batch asks of each line: the kind, what the command gives for all lines, and the check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from local_llm_service import tasks
from local_llm_service.producers.batch.formats import Reading, read_line
from local_llm_service.tasks.kind import Kind
from local_llm_service.worker.errors import InvalidRequest

#: Options of a command that may differ from one run to the next: they change no answer.
_FREE: Final = frozenset({"priority", "deadline_seconds", "cache"})


class Reads(Protocol):
    """What a run has to know of a batch: how a line is read, and by what a ledger knows it.

    `id_field` is None where a line without an id gets one of its content.
    """

    @property
    def id_field(self) -> str | None:
        """The field with a line's id; None for custom_id."""

    def read(self, text: bytes | None) -> Reading:
        """The call that a line makes, checked; its `error` if it is wrong."""

    def kept(self) -> Mapping[str, Any]:
        """What has to be the same at every run of the batch."""


@dataclass(frozen=True)
class Plan:
    """One kind for all lines. `arguments` are the command's own and win over a line's.

    `id_field` names the field with a line's id, None for custom_id. Raises InvalidRequest for an
    argument that would fail every line.
    """

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id_field: str | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.kind not in tasks.__all__:
            known = ", ".join(tasks.__all__)
            raise InvalidRequest(f"there is no kind {self.kind!r}", f"Use one of: {known}.")
        getattr(tasks, self.kind).check_shared(self.arguments)

    def read(self, text: bytes | None) -> Reading:
        """The call that a line makes, checked as the worker does it; its `error` if it is wrong."""
        reading = read_line(text, self.of_kind, self.id_field)
        if reading.error is not None:
            return reading
        given = {**reading.arguments, **self.arguments}
        # As for clients, None is the default. A row of a table has it where there is nothing.
        arguments = {name: value for name, value in given.items() if value is not None}
        try:
            getattr(tasks, self.kind).parse((), arguments)
        except InvalidRequest as error:
            return replace(reading, error=error)
        return replace(reading, arguments=arguments)

    @property
    def of_kind(self) -> Kind:
        """The kind itself."""
        found: Kind = getattr(tasks, self.kind).kind
        return found

    def kept(self) -> dict[str, Any]:
        """What a ledger compares: all that changes answers, their ids or their order.

        A long text is kept as a digest: the ledger holds no prompt.
        """
        given = {
            f"--{name.replace('_', '-')}": _short(value)
            for name, value in self.arguments.items()
            if name not in _FREE
        }
        more = {"--id-field": self.id_field, "--ordered": self.ordered or None}
        return {"kind": self.kind, **given, **{k: v for k, v in more.items() if v is not None}}


def _short(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
