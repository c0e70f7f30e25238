"""The embedded server finds calls in what its model writes, however the text is cut into pieces."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service.worker.embedded.ollama_api.tool_calls import ToolCalls

CALL = '{"name": "f", "parameters": {"a": "}"}}'


def read(text: str, size: int, names: tuple[str, ...] = ("f", "g")) -> tuple[str, list[Any]]:
    """The text that is shown, and the calls."""
    calls, shown, found = ToolCalls(names), "", []
    for at in range(0, len(text), size):
        piece, more = calls.read(text[at : at + size])
        shown, found = shown + piece, found + more
    return shown + calls.rest(), [call["function"] for call in found]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "names"),
    [
        ("It is warm.", "It is warm.", []),
        (CALL, "", ["f"]),
        (f" {CALL}\n{CALL} ", "", ["f", "f"]),
        (f"{CALL} and then", " and then", ["f"]),
        ('{"name": "other", "parameters": {}}', '{"name": "other", "parameters": {}}', []),
        ('{"name": "f", "parameters": 7} x', '{"name": "f", "parameters": 7} x', []),
        ('{"name": "f", "para', '{"name": "f", "para', []),
        (f"I call {CALL}", f"I call {CALL}", []),
        ("{" * 50, "{" * 50, []),
        ("", "", []),
    ],
)
def test_a_call_stands_at_the_start(text: str, shown: str, names: list[str], size: int) -> None:
    """Everything else comes out as the text that it is, with nothing lost."""
    given, calls = read(text, size)
    assert given.strip() == shown.strip()
    assert [call["name"] for call in calls] == names
    assert [call["index"] for call in calls] == list(range(len(names)))


def test_without_tools_nothing_is_held_back() -> None:
    """JSON that was asked for by a format is text."""
    assert ToolCalls(()).read("{") == ("{", [])
