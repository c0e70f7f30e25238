"""What the lines of a batch may ask: by URL, how a body is read and how its answer is written.

Both are what the endpoint of that URL does, so that a line gets the very object that a call gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local_llm_service.producers.http import first_routes
from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.openai import chat_reply, chat_request
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.reading import as_object


@dataclass(frozen=True)
class LineEndpoint:
    """One URL. `read` raises InvalidRequest; `reply` gets the plain answer and what is said of it
    beside."""

    read: Callable[[Any], Asked]
    reply: Callable[[Mapping[str, Any], Facts], Mapping[str, Any]]


def _own(kind: str) -> LineEndpoint:
    return LineEndpoint(lambda body: Asked(kind, as_object(body)), lambda answer, _: answer)


ENDPOINTS: Final[Mapping[str, LineEndpoint]] = {
    "/v1/chat/completions": LineEndpoint(chat_request.asked_of, chat_reply.completion_of),
    **{one.path: _own(one.path[1:].replace("-", "_")) for one in first_routes.OPERATIONS},
}
