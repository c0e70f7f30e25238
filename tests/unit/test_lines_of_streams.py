"""Lines of streams: no reader cuts them elsewhere than at their end, or cannot read them."""

from __future__ import annotations

import json

import pytest

from local_llm_service.producers.http.replies import one_line


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a\nb\u2028c\x85d", "a\nb\u2028c\x85d"),
        ("\U0001f600", "\U0001f600"),
        ("half \ud83d", "half ?"),
        ("\ude00 and \U0001f600", "? and \U0001f600"),
        (r"written \ud83d", r"written \ud83d"),
    ],
)
def test_a_line_is_one_for_every_reader(text: str, read: str) -> None:
    """In ASCII; half a character, at which strict readers of JSON fail, is replaced."""
    line = one_line({"text": text})
    assert line.isascii()
    assert line.splitlines() == [line]
    assert json.loads(line) == {"text": read}
