"""Puts the calls of a model together out of the pieces in which a stream sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

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

    _calls: dict[object, _Call] = field(default_factory=dict)
    _last: object = None

    def add(self, pieces: Any) -> str:
        """Take `delta.tool_calls`; returns the text of arguments that came with it."""
        added = ""
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                added += self._take(piece)
        return added

    def _take(self, piece: dict[str, Any]) -> str:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        place = piece.get("index")
        if place is None:  # without a number each id begins a call, and what has none goes on
            place = piece.get("id") or self._last
        self._last = place
        call = self._calls.setdefault(place, _Call())
        given = function.get("arguments")
        call.name = call.name or str(function.get("name") or "")
        if isinstance(given, dict):
            call.whole = given
        elif isinstance(given, str):
            call.arguments += given
            return given
        return ""

    def made(self) -> list[ToolCall]:
        """All calls. Raises ValueError where the arguments of one are no JSON object."""
        return [
            {"function": {"name": call.name, "arguments": _arguments(call)}}
            for call in self._calls.values()
        ]

    def __bool__(self) -> bool:
        return bool(self._calls)


def _arguments(call: _Call) -> dict[str, Any]:
    if call.whole is not None:
        return call.whole
    given = json.loads(call.arguments) if call.arguments.strip() else {}
    if not isinstance(given, dict):
        raise ValueError("no object")
    return given
