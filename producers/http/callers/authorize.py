"""Finds out who sends a request, before anything of it is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.callers.key_ring import ANONYMOUS, KeyRing
from local_llm_service.worker.store.api_keys import parts_of


async def authorize(key_ring: KeyRing, request: Request, *, public: bool) -> Caller:
    """The caller of a request; a public operation needs no key.

    Raises Unauthorized, RateLimited, and BrokerUnreachable.
    """
    if public:
        return ANONYMOUS
    return await key_ring.caller_of(_presented(request.headers))


def _presented(headers: Headers) -> str | None:
    """The key that a request was sent with: that of ours, where a client sends something else,
    too. A key in the URL is none: URLs are written into logs.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += filter(None, [headers.get("x-api-key")])
    ours = [text for text in given if parts_of(text) is not None]
    return next(iter(ours or given), None)
