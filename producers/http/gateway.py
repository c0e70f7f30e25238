"""The one way in: each request gets an id, a caller, its endpoint, and a reply whatever happens."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_llm_service.producers.http.call import Call, ClientGone, told_bytes, too_large
from local_llm_service.producers.http.callers.authorize import authorize
from local_llm_service.producers.http.callers.hosts import check_host
from local_llm_service.producers.http.operations import OLLAMA_TAG, Operation
from local_llm_service.producers.http.problems import MethodNotAllowed, NoSuchPath, problem_of
from local_llm_service.producers.http.replies import encoded
from local_llm_service.producers.http.service import HttpService
from local_llm_service.tasks.outcome import place_of
from local_llm_service.worker.errors import Forbidden, ServiceError

logger = logging.getLogger(__name__)
access = logging.getLogger("local_llm_service.http")

_PREFIXES = re.compile(r"^(?:(?:v1|api)/)+")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")
#: Headers of every reply; pages have a policy of their own.
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}

#: Headers of replies that scripts of another web origin may read, beside those that all may.
EXPOSED = ", ".join(
    (
        *("location", "preference-applied", "retry-after", "x-request-id", "x-should-retry"),
        *("x-local-llm-task-id", "x-local-llm-origin", "x-local-llm-queue-seconds"),
        *("x-local-llm-model-digest", "x-local-llm-ignored", "x-incomplete", "x-last-line"),
    )
)


class PathApp:
    """All operations of one path."""

    def __init__(self, service: HttpService, operations: Iterable[Operation]) -> None:
        self._service = service
        self._operations = {one.method: one for one in operations}
        if "GET" in self._operations:
            self._operations.setdefault("HEAD", self._operations["GET"])
        self.allowed = ", ".join(sorted({*self._operations, "OPTIONS"}))
        first = next(iter(self._operations.values()))
        self.path, self.tag = first.path, first.tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply. Raises the errors that the gateway tells."""
        state = scope["state"]
        state["path"], state["tag"] = self.path, self.tag
        operation = self._operations.get(scope["method"])
        if operation is None:
            if scope["method"] == "OPTIONS":
                await Response(status_code=204, headers={"Allow": self.allowed})(
                    scope, receive, send
                )
                return
            raise MethodNotAllowed(self.allowed)
        request = Request(scope, receive)
        caller = await authorize(self._service.key_ring, request, public=operation.public)
        state["tenant"] = caller.tenant
        open_to_all = operation.public or self._service.settings.allow_anonymous
        if caller.tenant is None and not open_to_all:
            check_host(request.headers.get("host", ""))
        if not operation.streams_body:
            _check_length(request.headers, self._service.settings.max_body_bytes)
        call = Call(self._service, request, caller, state["request_id"])
        response = await operation.endpoint(call)
        await response(scope, receive, send)


class _Reply:
    """Sends a reply with the headers that each one has, and remembers its status; 0: none yet."""

    def __init__(
        self, send: Send, request_id: str, allow: Callable[[MutableHeaders], None]
    ) -> None:
        self._send, self._request_id, self._allow = send, request_id, allow
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            raw = MutableHeaders(raw=message.setdefault("headers", []))
            raw["x-request-id"] = self._request_id
            for name, value in SECURITY.items():
                raw.setdefault(name, value)
            self._allow(raw)
        await self._send(message)


class Gateway:
    """The ASGI application around the router."""

    def __init__(self, router: ASGIApp, service: HttpService) -> None:
        self._router, self.service = router, service
        named = service.settings.cors_origins.split(",")
        self._origins = {one.strip().rstrip("/") for one in named if one.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the process's life."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._router(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, headers = perf_counter(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        state: dict[str, Any] = {"request_id": request_id, "path": "-", "tag": "", "tenant": None}
        scope["state"] = state
        cross = self._cross_origin(headers)
        reply = _Reply(send, request_id, lambda raw: self._allow(raw, cross))
        try:
            if not self._is_allowed(cross):
                raise Forbidden(
                    "this web origin may not ask", "Name it in CORS_ORIGINS of this service."
                )
            if cross is not None and _is_preflight(scope, headers):
                await Response(status_code=204)(scope, receive, reply.send)
            else:
                await self._router(scope, receive, reply.send)
        except (ClientGone, ClientDisconnect):
            reply.status = reply.status or 499
        except Exception as error:  # noqa: BLE001  # an edge: its text may hold a prompt
            if not isinstance(error, ServiceError):
                logger.error("request %s: unexpected %s", request_id, place_of(error))
            if reply.status == 0:
                await self._tell(error, scope, receive, reply.send)
        access.info(
            "%s %s %s %.1f ms request=%s tenant=%s",
            scope["method"], state["path"], reply.status, (perf_counter() - began) * 1000,
            request_id, "-" if state["tenant"] is None else state["tenant"],
        )  # fmt: skip

    async def _tell(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        problem = problem_of(error, scope["state"]["request_id"])
        if scope["state"]["tag"] == OLLAMA_TAG:
            body, media_type = {"error": problem.error_object["message"]}, "application/json"
        else:
            body, media_type = problem.body, "application/problem+json"
        reply = Response(encoded(body), problem.status, problem.headers, media_type)
        await reply(scope, receive, send)

    def _cross_origin(self, headers: Headers) -> str | None:
        """The web origin that asks, where it is not the service's own page.

        Without this check any page in a browser beside the service could use its GPU.
        """
        origin = headers.get("origin")
        if origin is None:
            return None
        try:
            is_own = urlsplit(origin).netloc == headers.get("host")
        except ValueError:  # it is no URL at all
            is_own = False
        return None if is_own else origin

    def _is_allowed(self, origin: str | None) -> bool:
        return origin is None or origin in self._origins or "*" in self._origins

    def _allow(self, raw: MutableHeaders, origin: str | None) -> None:
        if origin is not None and self._is_allowed(origin):
            raw["access-control-allow-origin"] = origin
            raw.add_vary_header("Origin")
            raw["access-control-allow-methods"] = "GET, POST, DELETE"
            # The star does not stand for `authorization`. Clients have headers of their own, as
            # OpenAI's in JavaScript, and a preflight fails by any that is not allowed.
            raw["access-control-allow-headers"] = (
                "authorization, content-type, idempotency-key, last-event-id, prefer, x-api-key, *"
            )
            raw["access-control-expose-headers"] = EXPOSED
            raw["access-control-max-age"] = "600"
            raw["cross-origin-resource-policy"] = "cross-origin"


def routes_of(service: HttpService, operations: Iterable[Operation]) -> list[Route]:
    """One route for each path. Fixed paths come before those with a parameter."""
    by_path: defaultdict[str, list[Operation]] = defaultdict(list)
    for one in operations:
        by_path[one.path].append(one)
    paths = sorted(by_path, key=lambda path: (path.count("{"), ":path}" in path))
    return [Route(path, PathApp(service, by_path[path])) for path in paths]


class NoPathApp:
    """Where no route matches. It names the path that was meant: most often /v1 is missing."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._paths: dict[str, str] = {}
        fixed = [one.path for one in operations if "{" not in one.path and one.path != "/"]
        for name_of in (_alike, _without_prefix):
            for path in fixed:
                self._paths.setdefault(name_of(path), path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises NoSuchPath."""
        path = scope["path"]
        if path.startswith("/api/"):
            scope["state"]["tag"] = "Ollama"
        meant = self._paths.get(_alike(path)) or self._paths.get(_without_prefix(path))
        raise NoSuchPath(meant or "")


def _alike(path: str) -> str:
    """The same for paths that people confuse: /Extract_Parameters/ and /extract-parameters."""
    return path.lower().strip("/").replace("_", "-")


def _without_prefix(path: str) -> str:
    return _PREFIXES.sub("", _alike(path))


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _check_length(headers: Headers, most: int) -> None:
    if (told_bytes(headers) or 0) > most:
        raise too_large(most)
