"""Errors as replies: one table, and one body that is RFC 9457's and OpenAI's at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    BudgetExceeded,
    Cancelled,
    ContextOverflow,
    CrashedTooOften,
    DeadlineExceeded,
    EngineTimeout,
    FilesUnavailable,
    Forbidden,
    IdempotencyMismatch,
    InternalError,
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    NotFound,
    NotReady,
    OllamaBusy,
    OllamaUnreachable,
    QueueFull,
    RateLimited,
    ServiceError,
    ShuttingDown,
    StreamBroken,
    TooLarge,
    Unauthorized,
)


class MethodNotAllowed(InvalidRequest):
    """The path has other methods."""

    code = "method_not_allowed"

    def __init__(self, allowed: str = "") -> None:
        super().__init__("this path does not have this method", f"Use {allowed}.")
        self.allowed = allowed


class NoSuchPath(NotFound):
    """No operation has this path."""

    def __init__(self, meant: str = "") -> None:
        perhaps = f"Perhaps it is {meant}. " if meant else ""
        super().__init__("no such path", f"{perhaps}See /docs for what there is.")


@dataclass(frozen=True)
class Row:
    """How one error is told. `retry`: what x-should-retry says, None: the status says enough.

    OpenAI's clients send again whatever is 500 or more; the queue has tried that already.
    """

    status: int
    kind: str = "api_error"
    code: str = ""
    retry: bool | None = None
    retry_after: int | None = None


_BAD = "invalid_request_error"

#: The most special class of an error that is here counts.
TABLE: Mapping[type[ServiceError], Row] = {
    InvalidRequest: Row(400, _BAD, retry=False),
    MethodNotAllowed: Row(405, _BAD, retry=False),
    TooLarge: Row(413, _BAD, retry=False),
    IdempotencyMismatch: Row(422, _BAD, retry=False),
    ContextOverflow: Row(400, _BAD, "context_length_exceeded", retry=False),
    Unauthorized: Row(401, "authentication_error", retry=False),
    Forbidden: Row(403, "permission_error", retry=False),
    NotFound: Row(404, _BAD, retry=False),
    ModelMissing: Row(404, _BAD, "model_not_found", retry=False),
    Cancelled: Row(410, _BAD, retry=False),
    RateLimited: Row(429, "rate_limit_error", retry=True, retry_after=1),
    QueueFull: Row(429, "rate_limit_error", retry=True, retry_after=10),
    BudgetExceeded: Row(429, "insufficient_quota", "insufficient_quota", retry=False),
    BrokerUnreachable: Row(503, retry=True, retry_after=5),
    BrokerUnsafe: Row(503, retry=False),
    OllamaUnreachable: Row(503, retry=True, retry_after=10),
    OllamaBusy: Row(503, retry=True, retry_after=5),
    FilesUnavailable: Row(503, retry=False),
    ShuttingDown: Row(503, retry=True, retry_after=1),
    NotReady: Row(503, retry=True, retry_after=1),
    DeadlineExceeded: Row(504, retry=False),
    EngineTimeout: Row(504, retry=False),
    InvalidOutput: Row(502, retry=False),
    ModelFailed: Row(502, retry=False),
    StreamBroken: Row(502, retry=False),
    CrashedTooOften: Row(502, retry=False),
    ServiceError: Row(500, retry=False),
}

_FIELD = re.compile(r"([A-Za-z_$][\w$.\[\]-]*): ")


@dataclass(frozen=True)
class Problem:
    """An error as it is told. `headers` do not hold those that every reply has."""

    error: ServiceError
    row: Row
    request_id: str = ""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.row.status

    @property
    def param(self) -> str | None:
        """The field that is wrong, where the message begins with it."""
        named = _FIELD.match(self.error.message) if self.row.kind == _BAD else None
        return named[1] if named else None

    @property
    def error_object(self) -> dict[str, Any]:
        """OpenAI's `error`."""
        words = [self.error.message.rstrip("."), self.error.hint]
        return {
            "message": ". ".join(filter(None, words)),
            "type": self.row.kind,
            "param": self.param,
            "code": self.row.code or self.error.code,
        }

    @property
    def body(self) -> dict[str, Any]:
        """The body of the reply, `application/problem+json`."""
        code = self.error.code
        return {
            "type": f"urn:local-llm:error:{code}",
            "title": code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.error.message,
            "instance": f"urn:local-llm:request:{self.request_id}",
            "code": code,
            "hint": self.error.hint,
            "retryable": self.error.retryable,
            "error": self.error_object,
        }

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After and its like."""
        found = {}
        if self.row.retry is not None:
            found["x-should-retry"] = "true" if self.row.retry else "false"
        seconds: float | None = self.row.retry_after
        if isinstance(self.error, RateLimited | QueueFull):
            seconds = self.error.retry_after_seconds or seconds
        if seconds is not None:
            found["Retry-After"] = str(max(1, min(120, int(seconds + 0.999))))
        if isinstance(self.error, Unauthorized):
            found["WWW-Authenticate"] = "Bearer"
        if isinstance(self.error, MethodNotAllowed):
            found["Allow"] = self.error.allowed
        return found


def problem_of(error: BaseException, request_id: str = "") -> Problem:
    """How an error is told; a foreign one is an internal error, without a word of its own."""
    if not isinstance(error, ServiceError):
        error = InternalError("a fault of the HTTP service")
    row = next(TABLE[one] for one in type(error).__mro__ if one in TABLE)
    return Problem(error, row, request_id)
