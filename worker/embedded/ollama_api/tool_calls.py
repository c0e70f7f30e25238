"""Reads calls of tools out of what a model writes, as Ollama does for a template with `parameters`.

A text that begins like an object is held back until the object is whole. Where it is a call of a
tool that was offered, it becomes a call; otherwise it comes out as the text that it was.
"""

import json
import secrets
import string
from collections.abc import Collection
from typing import Any

_LETTERS = string.ascii_lowercase + string.digits


class ToolCalls:
    """The calls in one answer; `names` are those of the tools that were offered."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held = ""
        self._is_text = not names
        self._count = 0

    def read(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Take the next piece; returns the text and the calls that are certain now."""
        if self._is_text:
            return text, []
        self._held += text
        calls: list[dict[str, Any]] = []
        while True:
            held = self._held.lstrip()
            if not held:
                return "", calls
            if held[0] != "{":
                self._is_text = True
                return self.rest(), calls
            try:
                value, end = json.JSONDecoder().raw_decode(held)
            except ValueError:
                return "", calls  # more has to come
            call = self._call(value)
            if call is None:
                self._is_text = True
                return self.rest(), calls
            calls.append(call)
            self._held = held[end:]

    def rest(self) -> str:
        """What is held back, as the text that it is after all."""
        held, self._held = self._held, ""
        return held

    def _call(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, dict) or value.get("name") not in self._names:
            return None
        arguments = value.get("parameters", value.get("arguments"))
        if not isinstance(arguments, dict):
            return None
        index, self._count = self._count, self._count + 1
        name = "".join(secrets.choice(_LETTERS) for _ in range(8))
        function = {"index": index, "name": value["name"], "arguments": arguments}
        return {"id": f"call_{name}", "function": function}
