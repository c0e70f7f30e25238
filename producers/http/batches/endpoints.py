"""What the lines of a batch may ask: by URL, how a body is read and how its answer is written.

Both are what the endpoint of that URL does, so that a line gets the very object that a call gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local_llm_service.producers.http import first_routes
from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.openai import chat_reply, chat_request, completions
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.reading import as_object
from local_llm_service.worker.errors import InvalidRequest


@dataclass(frozen=True)
class LineEndpoint:
    """One URL.

    `read` makes a call of a body, and what `reply` has to know of it; it raises InvalidRequest.
    `reply` makes the object of the plain answer, of what is said beside it, and of that.
    """

    read: Callable[[Any], tuple[Asked, Any]]
    reply: Callable[[Mapping[str, Any], Facts, Any], Mapping[str, Any]]


def _own(kind: str) -> LineEndpoint:
    """The URL of a kind: arguments in, the plain answer out."""

    def read(body: Any) -> tuple[Asked, Any]:
        return Asked(kind, as_object(body)), None

    return LineEndpoint(read, lambda answer, _, __: answer)


def _read_chat(body: Any) -> tuple[Asked, Any]:
    return chat_request.asked_of(body), None


def _read_completion(body: Any) -> tuple[Asked, Any]:
    asked = completions.asked_of(body)
    if len(asked) != 1:
        raise InvalidRequest("prompt: one text a line", "Give each prompt a line of its own.")
    return asked[0], None


ENDPOINTS: Final[Mapping[str, LineEndpoint]] = {
    "/v1/chat/completions": LineEndpoint(
        _read_chat, lambda answer, facts, _: chat_reply.completion_of(answer, facts)
    ),
    "/v1/completions": LineEndpoint(
        _read_completion, lambda answer, facts, _: completions.completion_of([answer], facts)
    ),
    **{one.path: _own(one.path[1:].replace("-", "_")) for one in first_routes.OPERATIONS},
}
