"""The error tree has stable codes and a documented table, and survives Celery's JSON results."""

import inspect
import json
import re

import pytest
from celery.exceptions import TaskRevokedError

from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import Cancelled, DeadlineExceeded, ServiceError

#: The codes that callers rely on; add a new one here and in the callers' documentation.
CODES = {
    "invalid_request",
    "invalid_setting",
    "unsupported_url",
    "queue_full",
    "broker_unreachable",
    "ollama_unreachable",
    "ollama_busy",
    "model_missing",
    "model_failed",
    "context_overflow",
    "invalid_output",
    "stream_broken",
    "timeout",
    "deadline_exceeded",
    "cancelled",
    "budget_exceeded",
    "crashed_too_often",
    "broker_unsafe",
    "not_found",
    "not_ready",
    "too_large",
    "idempotency_mismatch",
    "unauthorized",
    "forbidden",
    "rate_limited",
    "shutting_down",
    "files_unavailable",
}
#: This code marks a fault of ours, not a way for a job to fail.
OWN_FAULT = "internal_error"

CLASSES: list[type[ServiceError]] = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ServiceError) and kind is not ServiceError
]

TABLE = re.findall(r"[├└]── (\w+) +(\w+) +(yes|no) ", errors.__doc__ or "")


def through_celery(error: ServiceError) -> Exception:
    """The exception as a caller gets it, after a round trip through JSON."""
    stored = json.loads(json.dumps(app.backend.prepare_exception(error, serializer="json")))
    returned = app.backend.exception_to_python(stored)
    assert isinstance(returned, Exception)
    return returned


def test_every_code_of_the_contract_is_there_exactly_once() -> None:
    """Callers in other languages decide by `code`."""
    assert sorted(kind.code for kind in CLASSES) == sorted({*CODES, OWN_FAULT})


def test_the_table_in_the_module_is_the_code() -> None:
    """People read the tree at the top of worker/errors.py, so it must not drift."""
    written = {(name, code, retryable == "yes") for name, code, retryable in TABLE}
    assert written == {(kind.__name__, kind.code, kind.retryable) for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_what_to_do(kind: type[ServiceError]) -> None:
    """An error without its own hint has its class's hint, which is a sentence."""
    hint = kind("what happened").hint
    assert hint == kind.default_hint
    assert hint.endswith(".")


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_celerys_json_results(kind: type[ServiceError]) -> None:
    """Class, message, hint, code and retryable reach the caller of `.get()`."""
    returned = through_celery(kind("it has “quotes” and 1 number", "Do this."))
    assert type(returned) is kind
    assert returned.message == str(returned) == "it has “quotes” and 1 number"
    assert returned.hint == "Do this."
    assert (returned.code, returned.retryable) == (kind.code, kind.retryable)


def test_an_empty_hint_stays_empty() -> None:
    """An error may have no advice."""
    returned = through_celery(Cancelled("gone", ""))
    assert isinstance(returned, Cancelled)
    assert returned.hint == ""


@pytest.mark.parametrize("kind", CLASSES)
def test_the_arguments_are_message_and_hint_as_text(kind: type[ServiceError]) -> None:
    """Celery's JSON keeps positional text and nothing else."""
    assert kind("message").args == ("message", kind.default_hint)


@pytest.mark.parametrize("kind", [Cancelled, DeadlineExceeded])
def test_a_job_that_was_stopped_is_revoked_for_celery_too(kind: type[ServiceError]) -> None:
    """Code that knows only Celery catches TaskRevokedError."""
    assert issubclass(kind, TaskRevokedError)


def test_only_stopped_jobs_are_revoked() -> None:
    """A failure must not look like a caller's cancel."""
    revoked = {kind for kind in CLASSES if issubclass(kind, TaskRevokedError)}
    assert revoked == {Cancelled, DeadlineExceeded}


def test_the_engines_own_refinement_keeps_a_known_code() -> None:
    """FormatRefused is internal to the engine; if it escapes, callers still know its code."""
    from local_llm_service.worker.engine.ollama.errors import FormatRefused

    assert FormatRefused.code in CODES
