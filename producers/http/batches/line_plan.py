"""Reads the lines of one batch, in the file's words, as calls; and writes their ends likewise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import sleep, time
from typing import Any, Final
from uuid import uuid4

from local_llm_service.producers.batch.formats import Reading, id_of
from local_llm_service.producers.batch.records import LineJob
from local_llm_service.producers.http.asking import Asked, scope_of
from local_llm_service.producers.http.batches.endpoints import ENDPOINTS
from local_llm_service.producers.http.batches.record import Definition
from local_llm_service.producers.http.locality import kept_local
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.producers.http.reading import as_object, strict_json
from local_llm_service.producers.job_core import task_of
from local_llm_service.tasks.outcome import place_of
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ServiceError,
    TooLarge,
    UnsupportedUrl,
)

logger = logging.getLogger(__name__)

_MEMBERS: Final = frozenset({"custom_id", "method", "url", "body"})
#: After so many lines, about a millisecond of work, other threads get their turn.
LINES_AT_ONCE, PAUSE_SECONDS = 5, 0.0002
_READ = count()
#: The shortest time that a line is still given, seconds.
_LEAST_SECONDS: Final = 0.1


@dataclass(frozen=True)
class LinePlan:
    """The plan of a run (producers/batch/plan.py `Reads`) for one batch."""

    batch: Definition
    max_body_bytes: int
    id_field: None = None

    def kept(self) -> dict[str, Any]:
        """See Reads."""
        return {"batch": self.batch.id, "endpoint": self.batch.endpoint}

    def read(self, text: bytes | None) -> Reading:
        """See Reads."""
        if next(_READ) % LINES_AT_ONCE == 0:
            # Else this thread holds up the event loop beside it, 5 ms at a time.
            sleep(PAUSE_SECONDS)
        custom_id = None
        try:
            line = self._line(text)
            custom_id, line = id_of(line, "custom_id")
            asked, context = self._asked(line)
            arguments = self._limited(asked)
            task_of(asked.kind).parse((), arguments)
        except ServiceError as error:
            return Reading(custom_id, error=error)
        return Reading(custom_id, arguments, kind=asked.kind, context=context)

    def _line(self, text: bytes | None) -> dict[str, Any]:
        if text is None or len(text) > self.max_body_bytes:
            raise TooLarge(f"the line has more than {self.max_body_bytes} bytes (MAX_BODY_BYTES)")
        try:
            line = as_object(strict_json(text))
        except InvalidRequest as error:
            problem = error.message.replace("the body", "the line")
            raise InvalidRequest(problem, "Write one JSON object a line, in UTF-8.") from None
        if line.keys() - _MEMBERS:
            raise InvalidRequest("the line has a member that is not known here", _ONLY)
        return line

    def _asked(self, line: Mapping[str, Any]) -> tuple[Asked, Any]:
        if line.get("method") != "POST":
            raise InvalidRequest("method: must be POST")
        if line.get("url") != self.batch.endpoint:
            raise UnsupportedUrl(
                "url: is not the endpoint of this batch", f"It is {self.batch.endpoint}."
            )
        body = line.get("body")
        if not isinstance(body, dict):
            raise InvalidRequest("body: must be a JSON object")
        if body.get("stream") not in (None, False):
            raise InvalidRequest("stream: a line of a batch is not streamed", "Leave it out.")
        return ENDPOINTS[self.batch.endpoint].read(body)

    def _limited(self, asked: Asked) -> dict[str, Any]:
        """The arguments with what the batch, and its tenant, decide."""
        found = {name: value for name, value in asked.arguments.items() if value is not None}
        for name in ("stream", "task_id"):
            found.pop(name, None)
        found["priority"] = "low"
        found |= kept_local(found, self.batch.keep_local)
        if self.batch.tenant is not None:
            found["cache_scope"] = scope_of(self.batch.tenant, found.get("cache_scope"))
        if self.batch.expires_at is not None:
            left = max(_LEAST_SECONDS, self.batch.expires_at - time())
            own = found.get("deadline_seconds", left)
            found["deadline_seconds"] = min(own, left) if isinstance(own, int | float) else own
        return found


_ONLY: Final = "A line has custom_id, method, url and body."


def model_of(reading: Reading) -> str | None:
    """The model that a line names."""
    found = reading.arguments.get("model")
    return found if isinstance(found, str) else None


@dataclass(frozen=True)
class LineForm:
    """Output and error lines, as OpenAI writes them (producers/batch/records.py `Form`).

    `verdict`: the error of all lines that were given up. `digests`: of models, by name, as they
    are now.
    """

    batch: Definition
    verdict: Callable[[], ServiceError | None]
    digests: Callable[[], Mapping[str, str]] = field(default=dict)

    def answered(self, line_job: LineJob, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Form."""
        custom_id, task_id = line_job.entry.custom_id, line_job.task_id
        facts = Facts(int(time()), "flex", self.digests())
        try:
            body = ENDPOINTS[self.batch.endpoint].reply(answer, facts, line_job.context)
        except Exception as error:  # noqa: BLE001  # else one line would hold up all others for ever
            logger.error("an answer of a batch cannot be written: %s", place_of(error))
            problem = problem_of(error, task_id)
            return _line(custom_id, task_id, problem.status, problem.body)
        return _line(custom_id, task_id, 200, body)

    def failed(self, ids: Mapping[str, str | None], error: ServiceError) -> Mapping[str, Any]:
        """See Form."""
        custom_id, task_id = ids["custom_id"], ids["task_id"]
        verdict = self.verdict()
        if isinstance(verdict, Cancelled) and isinstance(error, Cancelled):
            return _left_out(custom_id, task_id, _CANCELLED)
        is_late = isinstance(error, DeadlineExceeded)
        if is_late and (isinstance(verdict, DeadlineExceeded) or self._is_over()):
            return _left_out(custom_id, task_id, _EXPIRED)
        problem = problem_of(error, task_id or "")
        return _line(custom_id, task_id, problem.status, problem.body)

    def _is_over(self) -> bool:
        """Whether the window has ended; a line's deadline may be noticed a moment before it."""
        end = self.batch.expires_at
        return end is not None and time() >= end - 1


_EXPIRED: Final = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
_CANCELLED: Final = {
    "code": "batch_cancelled",
    "message": "This request was not executed, as the batch was cancelled.",
}


def _line(
    custom_id: str | None, task_id: str | None, status: int, body: Mapping[str, Any]
) -> Mapping[str, Any]:
    response = {"status_code": status, "request_id": task_id or "", "body": body}
    return {**_head(custom_id, task_id), "response": response, "error": None}


def _left_out(
    custom_id: str | None, task_id: str | None, error: Mapping[str, str]
) -> Mapping[str, Any]:
    return {**_head(custom_id, task_id), "response": None, "error": error}


def _head(custom_id: str | None, task_id: str | None) -> Mapping[str, Any]:
    return {"id": f"batch_req_{task_id or uuid4()}", "custom_id": custom_id}
