"""Puts the calls of a model together out of the pieces in which a stream sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.worker.engine.openai_compatible.piece import mended
from local_llm_service.worker.prompt import ToolCall


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""
    #: Some servers send an object at once.
    whole: dict[str, Any] | None = None


@dataclass(slots=True)
class ToolCallPieces:
    """The calls so far, in the order in which they began."""

    _calls: dict[str, _Call] = field(default_factory=dict)
    _last: str = ""

    def add(self, pieces: list[Any]) -> int:
        """Take `delta.tool_calls`; returns how many characters of arguments they hold."""
        return sum(self._take(piece) for piece in pieces if isinstance(piece, dict))

    def _take(self, piece: dict[str, Any]) -> int:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        place = piece.get("index")
        if place is None:  # without a number each id begins a call, and what has none goes on
            place = piece.get("id") or self._last
        self._last = str(place)
        call = self._calls.setdefault(self._last, _Call())
        name, given = function.get("name"), function.get("arguments")
        call.name = call.name or (name if isinstance(name, str) else "")
        if isinstance(given, dict):
            call.whole = given
        elif isinstance(given, str):
            call.arguments += given
            return len(given)
        return 0

    def made(self) -> list[ToolCall]:
        """All calls. Raises ValueError where one has no name, or arguments that are no object."""
        if not all(call.name for call in self._calls.values()):
            raise ValueError("no name")
        return [
            {"function": {"name": call.name, "arguments": _arguments(call)}}
            for call in self._calls.values()
        ]


def _arguments(call: _Call) -> dict[str, Any]:
    if call.whole is not None:
        return call.whole
    given = json.loads(mended(call.arguments)) if call.arguments.strip() else {}
    if not isinstance(given, dict):
        raise ValueError("no object")
    return given
