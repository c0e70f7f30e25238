"""`/v1/chat/completions`: its body as a call of the kind `chat`. Pure; batches use it, too."""

from __future__ import annotations

from typing import Any, Final

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.openai.dialect import Dialect, kind_options
from local_llm_service.tasks.chat import ChatRequest

_TEXT_ONLY: Final = "this service sends and gets text only"

CHAT: Final = Dialect(
    taken=kind_options(ChatRequest, "allow_cut_json"),
    renamed={"max_completion_tokens": "max_tokens"},
    said={
        "n": (1,),
        "modalities": (["text"],),
        "logit_bias": ({},),
        "verbosity": ("medium",),
        "functions": ([],),
    },
    refused={
        "n": "one answer to a call is all that there is",
        "audio": _TEXT_ONLY,
        "modalities": _TEXT_ONLY,
        "logit_bias": "the model server cannot weigh single tokens",
        "functions": "is OpenAI's old form; use tools",
        "function_call": "is OpenAI's old form; use tool_choice",
        "moderation": "nothing is moderated here",
        "reasoning_effort": "the model server is not told how long to think",
        "verbosity": "models are not told; say it in a message",
        "web_search_options": "nothing is looked up in the web",
    },
)


def asked_of(body: Any) -> Asked:
    """The call that a body asks for, without `stream`.

    Raises InvalidRequest, which begins with the member that is wrong or cannot be done; what the
    kind itself checks is refused when the call is submitted.
    """
    arguments = CHAT.arguments_of(body)
    asked_format = arguments.get("response_format")
    if isinstance(asked_format, dict) and asked_format.get("type") != "text":
        # Clients of this API look at `finish_reason` before they read JSON.
        arguments["allow_cut_json"] = True
    return Asked("chat", arguments)
