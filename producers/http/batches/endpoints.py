"""What the lines of a batch may ask: by URL, how a body is read and how its answer is written.

Both are what the endpoint of that URL does, so that a line gets the very object that a call gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from local_llm_service.producers.http import first_routes
from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.jobs.job_body import JobBody
from local_llm_service.producers.http.jobs.job_resource import JobProgress, JobResource
from local_llm_service.producers.http.jobs.submitting import plain
from local_llm_service.producers.http.openai import (
    chat_reply,
    chat_request,
    completions,
    embeddings,
)
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.openai.responses_ask import ask_of
from local_llm_service.producers.http.openai.responses_object import ResponseFacts, answered
from local_llm_service.producers.http.openai.responses_request import ResponseRequest, refuse
from local_llm_service.producers.http.reading import as_object, checked
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.states import JobState


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


def _read_embedding(body: Any) -> tuple[Asked, Any]:
    return embeddings.asked_of(body), embeddings.encoding_of(body)


def _embeddings(answer: Mapping[str, Any], _: Facts, encoding: str) -> Mapping[str, Any]:
    tokens = answer["usage"]["prompt_tokens"]
    return embeddings.list_of(answer["embeddings"], answer["model"], tokens, encoding)


def _read_response(body: Any) -> tuple[Asked, Any]:
    request = checked(ResponseRequest, refuse(as_object(body)))
    for name in ("background", "background_options", "previous_response_id", "store", "webhook"):
        if getattr(request, name):
            raise InvalidRequest(f"{name}: a line of a batch has none", "Leave it out.")
    ask = ask_of(request, Caller(), ())
    return ask.asked, (ask.echo | {"store": False, "service_tier": "flex"}, ask.items)


def _response(answer: Mapping[str, Any], facts: Facts, context: Any) -> Mapping[str, Any]:
    return answered(ResponseFacts(answer["task_id"], facts.created, *context), answer)


def _read_job(body: Any) -> tuple[Asked, Any]:
    job = checked(JobBody, body)
    if job.webhook is not None:
        raise InvalidRequest("webhook: a line of a batch has none", "Give the batch one.")
    return job.asked(), None


def _job(answer: Mapping[str, Any], _: Facts, __: Any) -> Mapping[str, Any]:
    done = JobState.SUCCEEDED
    found = JobResource(
        id=answer["task_id"],
        kind=answer["kind"],
        status=done,
        queue="llm.low",
        progress=JobProgress(done=1, total=1, phase=done),
        submitted_at=None,
        deadline_at=None,
        answer=dict(answer),
    )
    return plain(found)


ENDPOINTS: Final[Mapping[str, LineEndpoint]] = {
    "/v1/chat/completions": LineEndpoint(
        _read_chat, lambda answer, facts, _: chat_reply.completion_of(answer, facts)
    ),
    "/v1/completions": LineEndpoint(
        _read_completion, lambda answer, facts, _: completions.completion_of([answer], facts)
    ),
    "/v1/embeddings": LineEndpoint(_read_embedding, _embeddings),
    "/v1/responses": LineEndpoint(_read_response, _response),
    "/v1/jobs": LineEndpoint(_read_job, _job),
    **{one.path: _own(one.path[1:].replace("-", "_")) for one in first_routes.OPERATIONS},
}
