"""Ollama's routes that change its models: refused, unless the operator allows them.

Then they go to the one Ollama at this process's OLLAMA_HOST. Jobs never do: workers ask the Ollama
beside them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from local_llm_service.producers.http.call import Call, ClientGone, told_bytes
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.worker.errors import (
    Forbidden,
    InvalidRequest,
    OllamaUnreachable,
    StreamBroken,
    TooLarge,
)

#: Ollama may be silent for so long while it writes a large file.
SILENT_SECONDS = 600.0
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")


async def manage(call: Call) -> Response:
    """Pull, push, create, copy or delete a model."""
    _check_allowed(call)
    return await _passed_on(call, call.request.url.path, await call.body())


async def blob(call: Call) -> Response:
    """Send a part of a model's file, or ask whether it is there."""
    _check_allowed(call)
    digest = call.request.path_params["digest"]
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest("digest: must be sha256: and 64 hex digits")
    upload = None if call.request.method == "HEAD" else _Upload(call)
    return await _passed_on(call, f"/api/blobs/{digest}", upload)


def _check_allowed(call: Call) -> None:
    if not call.service.settings.allow_model_management:
        raise Forbidden(
            "models are not managed through this service",
            "Run `ollama` on the worker's host, or ask the operator for ALLOW_MODEL_MANAGEMENT=1.",
        )
    if call.caller.ceiling != "high":
        raise Forbidden(
            "this key may not manage models, which all tenants share",
            'Ask the operator for a key with the ceiling "high".',
        )


class _Upload:
    """A request's body on its way through, at most MAX_FILE_BYTES."""

    def __init__(self, call: Call) -> None:
        """Raises TooLarge."""
        self._call, self._left = call, call.service.settings.max_file_bytes
        #: What the client says; None: it does not.
        self.bytes = told_bytes(call.request.headers)
        #: Why it ended before its end.
        self.error: Exception | None = None
        if self.bytes is not None and self.bytes > self._left:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        most = self._call.service.settings.max_file_bytes
        return TooLarge(f"the file has more than {most} bytes (MAX_FILE_BYTES)")

    async def parts(self) -> AsyncIterator[bytes]:
        """The parts as they come. Raises `error`, after which the other side has no whole body."""
        try:
            async for part in self._call.request.stream():
                self._left -= len(part)
                if self._left < 0:
                    raise self._too_large()
                yield part
        except (ClientDisconnect, TooLarge) as error:
            self.error = ClientGone() if isinstance(error, ClientDisconnect) else error
            raise self.error from None


async def _passed_on(call: Call, path: str, body: bytes | _Upload | None) -> Response:
    """Ollama's own reply. Raises OllamaUnreachable, and StreamBroken before it has begun."""
    settings = call.service.settings
    headers: dict[str, str] = {}
    upload = body if isinstance(body, _Upload) else None
    data: Any = upload.parts() if upload else body
    if upload and upload.bytes is not None:
        headers["Content-Length"] = str(upload.bytes)
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=settings.connect_seconds, sock_read=SILENT_SECONDS
    )
    async with AsyncExitStack() as exits:
        session = await exits.enter_async_context(
            aiohttp.ClientSession(trust_env=False, timeout=timeout, auto_decompress=False)
        )
        try:
            reply = await session.request(
                call.request.method,
                f"{settings.ollama_host.rstrip('/')}{path}",
                data=data,
                headers=headers,
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError:
            host = settings.masked_ollama_host
            raise OllamaUnreachable(f"Ollama is not running at {host}") from None
        except (aiohttp.ClientError, OSError, TooLarge, ClientGone):
            if upload and upload.error:
                raise upload.error from None
            raise StreamBroken("the exchange with Ollama broke off") from None
        exits.callback(reply.close)
        if call.request.method == "HEAD":
            return Response(status_code=reply.status)
        media_type = reply.headers.get("Content-Type", "application/json")
        stream = EventStream(
            call, _parts(reply, exits.pop_all()), media_type=media_type, keep_alive=b""
        )
        stream.status_code = reply.status
        return stream


async def _parts(reply: aiohttp.ClientResponse, exits: AsyncExitStack) -> AsyncIterator[bytes]:
    async with exits:
        try:
            async for part in reply.content.iter_any():
                yield part
        except aiohttp.ClientError:
            raise StreamBroken("Ollama's reply broke off") from None
