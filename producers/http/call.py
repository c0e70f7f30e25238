"""What an endpoint gets: one request that the gateway has let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

from pydantic import BaseModel
from starlette.requests import Request

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.reading import checked, strict_json
from local_llm_service.worker.errors import TooLarge

if TYPE_CHECKING:
    from local_llm_service.producers.http.service import HttpService

M = TypeVar("M", bound=BaseModel)


class ClientGone(Exception):
    """The connection has ended before the reply; nobody is told."""


class Call:
    """One request."""

    def __init__(
        self, service: HttpService, request: Request, caller: Caller, request_id: str
    ) -> None:
        self.service, self.request = service, request
        self.caller, self.request_id = caller, request_id
        self._body: bytes | None = None
        self._stream = ""

    async def body(self) -> bytes:
        """The body. Raises TooLarge, and ClientGone if it does not come to its end."""
        if self._body is None:
            most = self.service.settings.max_body_bytes
            parts, size = [], 0
            while True:
                message = await self.request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise too_large(most)
                if not message.get("more_body"):
                    break
            self._body = b"".join(parts)
        return self._body

    async def json(self) -> Any:
        """The body as JSON. Raises InvalidRequest and TooLarge."""
        return strict_json(await self.body())

    async def read(self, model: type[M]) -> M:
        """The body as an instance of `model`. Raises InvalidRequest and TooLarge."""
        return checked(model, await self.json())

    def read_query(self, model: type[M]) -> M:
        """The query as an instance of `model`. Raises InvalidRequest."""
        return checked(model, dict(self.request.query_params))

    async def open_stream(self) -> None:
        """Count an open stream of the caller, once. Raises RateLimited and BrokerUnreachable."""
        if not self._stream:
            streams = self.service.open_streams
            self._stream = await streams.open(self.caller)
            # Should the stream never begin.
            finalize(self, streams.close, self.caller, self._stream, quietly=True).atexit = False

    def close_stream(self) -> None:
        """The stream is over."""
        self.service.open_streams.close(self.caller, self._stream)

    async def gone(self) -> None:
        """Return when the client has closed its connection; the body has been read."""
        await self.body()
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def header(self, name: str) -> str | None:
        """A header's value, None where it is not sent."""
        return self.request.headers.get(name)


def told_bytes(headers: Mapping[str, str]) -> int | None:
    """The size of a body as its client tells it; None where it does not."""
    length = headers.get("content-length", "")
    return int(length[:20]) if length.isdecimal() else None


def too_large(most: int) -> TooLarge:
    """The error for a body of more than MAX_BODY_BYTES."""
    return TooLarge(f"the body has more than {most} bytes (MAX_BODY_BYTES)")
