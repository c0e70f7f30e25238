"""Celery's record of one running message, without a single word of its arguments.

A producer that sends by name (`send_task`, another language, Flower) puts a `repr` of the prompt
into the message's headers. That text must not reach this worker's log, events or `inspect` replies.
"""

from __future__ import annotations

from typing import Any

from celery.exceptions import InvalidTaskError, TaskRevokedError
from celery.worker.request import Request

from local_llm_service.worker.errors import DeadlineExceeded

HIDDEN = "-"


class PrivateRequest(Request):
    """A request that shows HIDDEN wherever Celery would show arguments."""

    _error: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (TypeError, ValueError, KeyError, AttributeError):
            # Without this, a body that is not (args, kwargs, embed) would end the whole consumer.
            raise InvalidTaskError("the body is not [args, kwargs, options]") from None
        self._argsrepr = self._kwargsrepr = HIDDEN
        # Not the sender's `shadow`, a free text that Celery would show in its place.
        self.name = self._request_dict["task"]
        self._request_dict["shadow"] = None
        # Storing the result ends the delivery, so it cannot be left out.
        self._ignore_result = self._request_dict["ignore_result"] = False
        # The tracer reads these two from the dict when it logs an error.
        self._request_dict["argsrepr"] = self._request_dict["kwargsrepr"] = HIDDEN

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the error for `send_event`."""
        error = exc_info.exception
        self._error = getattr(error, "exc", error)  # Celery may put a text of a traceback around it
        return super().on_failure(exc_info, *args, **kwargs)

    def send_event(self, type: str, **fields: Any) -> Any:
        """Tell Flower; a job that was cancelled or is too late is REVOKED, not a fault.

        Without the traceback, whose last line is the error's message.
        """
        if "traceback" in fields:
            fields["traceback"] = ""
        if type == "task-failed" and isinstance(self._error, TaskRevokedError):
            expired = isinstance(self._error, DeadlineExceeded)
            ending = {"terminated": True, "signum": None, "expired": expired}
            return super().send_event("task-revoked", **ending)
        return super().send_event(type, **fields)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """The reply to `inspect active|reserved|scheduled|query_task`, never with the arguments."""
        return {**super().info(safe=True), "args": HIDDEN, "kwargs": HIDDEN}
