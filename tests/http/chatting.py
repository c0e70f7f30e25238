"""What the tests of OpenAI's chat ask: one call of the official client."""

from __future__ import annotations

from typing import Any

import openai

MODEL = "scripted:1b"
HI: list[Any] = [{"role": "user", "content": "What is Python?"}]


def ask(client: openai.OpenAI, **options: Any) -> Any:
    """One call of the client."""
    return client.chat.completions.create(**{"model": MODEL, "messages": HI, **options})
