"""Each error over a real server: one body for RFC 9457's readers and OpenAI's, one table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from starlette.responses import Response

from local_llm_service.producers.http import app, asking, full_queue
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.full_queue import seconds_to_next_end
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.problems import TABLE
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.store.presence import Presence
from tests.http.conftest import HttpSite, http_site

BAD, API, LIMIT = "invalid_request_error", "api_error", "rate_limit_error"
#: class, status, OpenAI's type and code, whether Retry-After is there, x-should-retry.
ROWS: list[tuple[type[ServiceError], int, str, str, bool, bool]] = [
    (errors.InvalidRequest, 400, BAD, "invalid_request", False, False),
    (errors.ContextOverflow, 400, BAD, "context_length_exceeded", False, False),
    (errors.Unauthorized, 401, "authentication_error", "unauthorized", False, False),
    (errors.Forbidden, 403, "permission_error", "forbidden", False, False),
    (errors.ModelMissing, 404, BAD, "model_not_found", False, False),
    (errors.NotFound, 404, BAD, "not_found", False, False),
    (errors.Cancelled, 410, BAD, "cancelled", False, False),
    (errors.TooLarge, 413, BAD, "too_large", False, False),
    (errors.IdempotencyMismatch, 422, BAD, "idempotency_mismatch", False, False),
    (errors.RateLimited, 429, LIMIT, "rate_limited", True, True),
    (errors.QueueFull, 429, LIMIT, "queue_full", True, True),
    (errors.InternalError, 500, API, "internal_error", False, False),
    (errors.InvalidSetting, 500, API, "invalid_setting", False, False),
    (errors.BudgetExceeded, 429, "insufficient_quota", "insufficient_quota", False, False),
    (errors.InvalidOutput, 502, API, "invalid_output", False, False),
    (errors.ModelFailed, 502, API, "model_failed", False, False),
    (errors.CrashedTooOften, 502, API, "crashed_too_often", False, False),
    (errors.StreamBroken, 502, API, "stream_broken", False, False),
    (errors.BrokerUnreachable, 503, API, "broker_unreachable", True, True),
    (errors.BrokerUnsafe, 503, API, "broker_unsafe", False, False),
    (errors.FilesUnavailable, 503, API, "files_unavailable", False, False),
    (errors.OllamaUnreachable, 503, API, "ollama_unreachable", True, True),
    (errors.OllamaBusy, 503, API, "ollama_busy", True, True),
    (errors.NotReady, 503, API, "not_ready", True, True),
    (errors.ShuttingDown, 503, API, "shutting_down", True, True),
    (errors.DeadlineExceeded, 504, API, "deadline_exceeded", False, False),
    (errors.EngineTimeout, 504, API, "timeout", False, False),
]
#: The class that OpenAI's client raises.
CLIENT_ERRORS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    410: openai.APIStatusError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
SECRET = "the prompt is secret"


async def _fails(call: Call) -> Response:
    """Fail with the error of the path, whose message names a field."""
    name = call.request.path_params["name"]
    if name == "foreign":
        raise ValueError(SECRET)
    raise getattr(errors, name)("messages.0.role: must be a word", "Choose one.")


@pytest.fixture(scope="module")
def failing() -> Iterator[HttpSite]:
    """A server with a path for each error; it needs no Redis."""
    before = app.OPERATIONS
    fails = [
        Operation(method, f"{prefix}/fails/{{name}}", _fails, "Fails", tag, public=True)
        for method in ("GET", "POST")
        for prefix, tag in (("/v1", "OpenAI"), ("/api", "Ollama"))
    ]
    app.OPERATIONS = (*before, *fails)
    try:
        with http_site() as site:
            yield site
    finally:
        app.OPERATIONS = before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].code)
def test_each_error_has_its_row(failing: HttpSite, row: tuple[Any, ...]) -> None:
    """Status, both bodies, and what says whether to try again."""
    error, status, kind, code, waits, retry = row
    reply = failing.get(f"/v1/fails/{error.__name__}", headers={"X-Request-Id": "mine-1"})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-should-retry"] == str(retry).lower()
    assert ("retry-after" in reply.headers) is waits
    assert not waits or 1 <= int(reply.headers["retry-after"]) <= 120
    assert ("www-authenticate" in reply.headers) is (status == 401)
    body = reply.json()
    assert body["type"] == f"urn:local-llm:error:{error.code}"
    assert (body["status"], body["code"], body["hint"]) == (status, error.code, "Choose one.")
    assert body["title"]
    assert body["detail"] == "messages.0.role: must be a word"
    assert body["instance"] == "urn:local-llm:request:mine-1"
    assert reply.headers["x-request-id"] == "mine-1"
    told = body["error"]
    assert (told["type"], told["code"]) == (kind, code)
    assert told["param"] == ("messages.0.role" if kind == BAD else None)
    assert told["message"] == "messages.0.role: must be a word. Choose one."


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].code)
def test_openais_client_reads_it(failing: HttpSite, row: tuple[Any, ...]) -> None:
    """As the class of its status, with code, type, param and the id of the request."""
    error, status, kind, code, _, _ = row
    client = failing.openai()
    with pytest.raises(CLIENT_ERRORS.get(status, openai.InternalServerError)) as caught:
        client.get(f"/fails/{error.__name__}", cast_to=object)
    seen = caught.value
    assert (seen.status_code, seen.code, seen.type) == (status, code, kind)
    assert "must be a word" in seen.message
    assert seen.request_id


def test_no_error_is_without_a_row() -> None:
    """Each class that HTTP can meet is told by its own row or one above it."""
    listed = {row[0] for row in ROWS}
    assert {one for one in TABLE if one.__module__ == errors.__name__} - listed == {ServiceError}


def test_ollamas_clients_read_the_same(failing: HttpSite) -> None:
    """Under /api/ the body is Ollama's; status and headers stay."""
    reply = failing.get("/api/fails/QueueFull")
    assert (reply.status_code, reply.headers["x-should-retry"]) == (429, "true")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"error": "messages.0.role: must be a word. Choose one."}


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),  # a base_url without /v1
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/generate", "/generate"),
        ("/Extract_Parameters/", "/extract-parameters"),
        ("/v1/api/tags", "/api/tags"),
    ],
)
def test_a_path_that_is_nearly_right(failing: HttpSite, asked: str, meant: str) -> None:
    """404 names the path that was meant."""
    reply = failing.post(asked, json={})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert reply.json()["hint"] == f"Perhaps it is {meant}. See /docs for what there is."


def test_a_path_that_is_nowhere(failing: HttpSite) -> None:
    """404; below /api/ it is Ollama's body, with Ollama's own path, where two are alike."""
    for asked in ("/", "/v1", "/v1/images/secret"):
        reply = failing.post(asked, json={})
        assert "Perhaps" not in reply.text
        assert "secret" not in reply.text
    told = {"error": "no such path. See /docs for what there is."}
    assert failing.post("/api/no", json={}).json() == told
    assert "Perhaps it is /api/generate." in failing.post("/api/Generate", json={}).json()["error"]


def test_a_fault_of_ours_says_nothing(failing: HttpSite) -> None:
    """A foreign error may quote a prompt: no word of it gets out."""
    reply = failing.post("/v1/fails/foreign", json={})
    assert reply.status_code == 500
    assert SECRET not in reply.text
    assert reply.json()["code"] == "internal_error"


@pytest.mark.parametrize(
    ("error", "times", "status"),
    [
        (errors.ContextOverflow, 1, 400),
        (errors.ModelMissing, 1, 404),
        (errors.ModelFailed, 1, 502),
        (errors.InvalidOutput, 1, 502),
        (errors.StreamBroken, 3, 502),
        (errors.EngineTimeout, 3, 504),
    ],
    ids=lambda one: getattr(one, "code", ""),
)
def test_a_job_that_fails(
    http: HttpSite, local_llm: LocalLLM, error: type[ServiceError], times: int, status: int
) -> None:
    """Whoever waits for the job gets its own error, by the same table."""
    local_llm.fail(error, times=times)
    reply = http.post("/generate", json={"prompt": SECRET})
    assert (reply.status_code, reply.json()["code"]) == (status, error.code)
    assert SECRET not in reply.text


def test_a_job_that_is_too_late_or_cancelled(http: HttpSite, local_llm: LocalLLM) -> None:
    """504 and 410, neither of which OpenAI's client sends again."""
    with local_llm.held():
        late = http.post("/generate", json={"prompt": "a", "deadline_seconds": 0.05})
        replies: list[Any] = []
        waits = threading.Thread(
            target=lambda: replies.append(http.post("/generate", json={"prompt": "b"}))
        )
        waits.start()
        local_llm.wait_until_asked(2)
        local_llm._worker._store.jobs.cancel(_running(local_llm))
        waits.join(10)
    assert (late.status_code, late.headers["x-should-retry"]) == (504, "false")
    assert (replies[0].status_code, replies[0].json()["code"]) == (410, "cancelled")


def test_a_deadline_that_no_worker_keeps(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker nothing ends a job: whoever waits is told, also by a stream."""
    monkeypatch.setattr(asking, "LATE_SECONDS", -29.9)  # as if 30 s were over, and nobody came
    body = {"model": "a", "messages": [{"role": "user", "content": "a"}], "deadline_seconds": 30}
    asks = {"model": "a", "input": "a", "deadline_seconds": 30}
    with local_llm.held():
        for path, asked in (
            ("/generate", {"prompt": "a", "deadline_seconds": 30}),
            ("/v1/chat/completions", body),
            ("/v1/responses", asks),
        ):
            asked.pop("model", None)
            reply = http.post(path, json=asked)
            assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
            assert "local-llm health" in reply.json()["hint"]
        for path, asked in (("/v1/chat/completions", body), ("/v1/responses", asks)):
            told = http.post(path, json={**asked, "stream": True}).text
            assert "deadline_exceeded" in told


def _running(local_llm: LocalLLM) -> str:
    (one,) = local_llm._worker._runtime.in_flight.all()
    return one.delivery.task_id


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_a_full_queue(http: HttpSite, local_llm: LocalLLM) -> None:
    """429, with a time after which to try again."""
    with local_llm.held():
        waits = threading.Thread(target=lambda: http.post("/generate", json={"prompt": "a"}))
        waits.start()
        local_llm.wait_until_asked(1)
        reply = http.post("/generate", json={"prompt": "b"})
    waits.join(10)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
    assert int(reply.headers["retry-after"]) <= 120


@pytest.mark.parametrize(
    ("ages", "seconds"), [([], None), ([30.0], 30.0), ([10.0, 30.0], 10.0), ([4.0] * 8, 0.5)]
)
def test_a_full_queue_has_room_when_a_job_ends(ages: list[float], seconds: float | None) -> None:
    """What runs is guessed to run for as long again; the more run, the sooner one ends."""
    job = {"task_id": "", "kind": "", "queue": "", "model": "", "tokens": 0}
    jobs = [{**job, "seconds": age, "tokens_per_second": None} for age in ages]
    worker = {"name": "w", "slots": 8, "running": len(ages), "model": "m", "ollama_host": "h"}
    more = {"ollama_version": None, "ollama_reachable": True, "cache_enabled": True, "models": []}
    presence = Presence.model_validate({**worker, **more, "jobs": jobs})
    assert seconds_to_next_end([presence]) == seconds


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_the_estimate_of_a_full_queue_is_told(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Retry-After, in whole seconds."""
    monkeypatch.setattr(full_queue, "seconds_to_next_end", lambda _: 41.2)
    with local_llm.held():
        waits = threading.Thread(target=lambda: http.post("/generate", json={"prompt": "a"}))
        waits.start()
        local_llm.wait_until_asked(1)
        reply = http.post("/generate", json={"prompt": "b"})
    waits.join(10)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "42")


def test_redis_away(http: HttpSite, local_llm: LocalLLM) -> None:
    """503, also for a look; and the process lives."""
    with local_llm.redis_away():
        asked = http.post("/generate", json={"prompt": "a"})
        looked = http.get("/v1/overview")
        alive = http.get("/health/live")
    assert (asked.status_code, asked.json()["code"]) == (503, "broker_unreachable")
    assert (looked.status_code, looked.headers["x-should-retry"]) == (503, "true")
    assert alive.status_code == 200


@pytest.mark.local_llm(settings={"max_body_bytes": 1024})
def test_a_body_that_is_too_large(http: HttpSite) -> None:
    """413, whether its length is told or it comes in pieces."""
    told = http.post("/generate", json={"prompt": "a" * 2000})
    pieces = http.post("/generate", content=(b"a" * 100 for _ in range(20)))
    assert [told.status_code, pieces.status_code] == [413, 413]
    assert told.json()["code"] == "too_large"
