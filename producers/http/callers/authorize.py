"""Finds out who sends a request, before anything of it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from local_llm_service.producers.http.callers.caller import Caller

if TYPE_CHECKING:
    from local_llm_service.producers.http.service import HttpService

ANONYMOUS = Caller()


async def authorize(service: HttpService, request: Request, *, public: bool) -> Caller:
    """The caller of a request; a public operation needs no key.

    Raises Unauthorized and RateLimited.
    """
    return ANONYMOUS
