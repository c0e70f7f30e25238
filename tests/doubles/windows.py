"""What an Ollama reads of a prompt: all of it, a part, or nothing, which it says in its own words.

As recorded in tests/wire/ctx_chat_one_long_message_*: 0.24 cuts to the window, 0.33 to half of it.
"""

from __future__ import annotations

import json
from typing import Any

from local_llm_service.testing.scripted_run import tokens

#: Tokens of a prompt that are not its messages' words; no prompt has fewer than this and two.
TEMPLATE_TOKENS = 9
DEFAULT_WINDOW = 4096


def tokens_read(
    body: dict[str, Any], sent: int | None, version: str, *, cuts: bool = False
) -> int | str:
    """How many tokens of a chat are read, or the text of the refusal.

    `sent` are its tokens; None: one for each word. `cuts`: whatever the request says of it.
    """
    if sent is None:
        words = sum(len(tokens(one["content"] or "")) for one in body["messages"])
        sent = TEMPLATE_TOKENS + max(2, words)
    room = body.get("options", {}).get("num_ctx", DEFAULT_WINDOW)
    is_old = version.startswith("0.24")
    if sent <= room:
        return sent
    if cuts or body.get("truncate", True):
        return room if is_old else 2 + room // 2
    if is_old:
        return "the input length exceeds the context length"
    said = f"request ({sent} tokens) exceeds the available context size ({room} tokens)"
    why = {"code": 400, "message": said, "type": "exceed_context_size_error"}
    return json.dumps({"error": {**why, "n_prompt_tokens": sent, "n_ctx": room}})
