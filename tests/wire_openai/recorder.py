"""Sends one request and keeps what a server answered, in the form of tests/wire."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import wait_until

#: Of an event stream this many lines at most: a client hangs up after them.
EVERY = 1_000_000


def recorded(
    url: str,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: Any = None,
    body_text: str | None = None,
    leave_after_lines: int = EVERY,
    leave_when: Callable[[], bool] | None = None,
    at_line: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """The exchange: {"request", "response"}. `at_line` is told the number of each line.

    With `leave_when` the client leaves before the answer, once that is true.
    """
    request: dict[str, Any] = {
        "method": method,
        "path": path,
        "headers": {"Content-Type": "application/json", **(headers or {})},
    }
    if body is not None:
        request["body"] = body
    if body_text is not None:
        request["body_text"] = body_text
    text = body_text if body is None else json.dumps(body)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    began = time.monotonic()
    try:
        connection.request(method, path, text, request["headers"])
        if leave_when is not None:
            wait_until(leave_when, "time to leave")
            return {"request": _masked(request), "response": {"client_disconnected": True}}
        answer = connection.getresponse()
        response = _read(answer, began, leave_after_lines, at_line)
    except (http.client.HTTPException, OSError):
        response = {"status": None, "body_properly_ended": False}
    finally:
        connection.close()
    return {"request": _masked(request), "response": response}


def _masked(request: dict[str, Any]) -> dict[str, Any]:
    if "Authorization" in request["headers"]:
        request["headers"]["Authorization"] = "Bearer ..."
    return request


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def _read(
    answer: http.client.HTTPResponse, began: float, leave: int, at_line: Callable[[int], None]
) -> dict[str, Any]:
    response: dict[str, Any] = {
        "status": answer.status,
        "reason": answer.reason,
        "headers": [list(one) for one in answer.getheaders()],
        "first_byte_ms": _since(began),
    }
    if "event-stream" in (answer.getheader("content-type") or ""):
        _read_lines(answer, response, began, leave, at_line)
    else:
        text = answer.read().decode()
        response |= {"body_text": text, "body_properly_ended": True}
    response["wall_ms"] = _since(began)
    return response


def _read_lines(
    answer: http.client.HTTPResponse,
    response: dict[str, Any],
    began: float,
    leave: int,
    at_line: Callable[[int], None],
) -> None:
    lines: list[str] = []
    offsets: list[float] = []
    response |= {"lines": lines, "line_offsets_ms": offsets, "body_properly_ended": False}
    unfinished = b""
    # Chunk by chunk: http.client does not tell a body that ends from one that breaks off.
    while chunk := _chunk(answer.fp):
        *whole, unfinished = (unfinished + chunk).split(b"\n")
        for line in whole:
            lines.append(line.decode())
            offsets.append(_since(began))
            at_line(len(lines))
            if len(lines) >= leave:
                response["client_disconnected"] = True
                del response["body_properly_ended"]
                return
    response["body_properly_ended"] = chunk is not None


def _chunk(body: Any) -> bytes | None:
    """The next chunk; empty at the end, None where the body breaks off."""
    try:
        size = body.readline()
        content: bytes = body.read(int(size, 16))
        body.readline()
    except (OSError, ValueError):
        return None
    return content
