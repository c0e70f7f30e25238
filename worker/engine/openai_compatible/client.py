"""HTTP with one server of `/v1`: its key, its proxy, its streams; what it refuses is `Refused`."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any, cast

import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_sse import EventSource, SSEError

from local_llm_service.worker.engine.openai_compatible.address import Address
from local_llm_service.worker.engine.openai_compatible.errors import Refused
from local_llm_service.worker.engine.openai_compatible.retry_after import retry_after_seconds
from local_llm_service.worker.engine.openai_compatible.said import Said, is_error
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.fleet import FleetEngine

#: No answer's error, no list of models and no single event is longer: bytes, and characters.
_MOST_BYTES = 4_194_304

#: Seconds that an idle connection to a provider is kept. One at home is not: llama-server may close
#: it behind an answer, uvicorn (vLLM, LiteLLM) closes it after 5 s, and a request that meets this
#: on its way looks like a death of the engine. A new one costs little on the same host.
_KEPT_AT_HOME_SECONDS, _KEPT_AWAY_SECONDS = 0.0, 20.0

#: One event of a stream, read.
Event = dict[str, Any]


class OpenAiClient:
    """One connection pool to one server.

    Only connecting and sending have a timeout here. The engine bounds reading itself, because it
    allows another time for the first token than for the next.
    """

    def __init__(self, entry: FleetEngine, *, connect_seconds: float) -> None:
        address = Address.of(entry.url)
        self._root = address.root
        self._http = httpx.AsyncClient(
            base_url=address.base,
            auth=_Authorization(entry.api_key, address.login),
            # Not compressed: what compresses a stream may hold tokens back.
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(None, connect=connect_seconds, write=30),
            transport=_transport(address, entry),
            trust_env=False,  # no ~/.netrc
            follow_redirects=False,  # the key must not go elsewhere
        )

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[Event]:
        """The events of one answer; `[DONE]` comes as an empty one.

        Nothing is sent before the first is asked for. Closing it ends the generation; after
        `[DONE]` it is read on to its end, so that its connection can serve the next request.
        Raises Refused, also for an error instead of a stream, and one of FOREIGN.
        """
        request = self._http.build_request("POST", "chat/completions", json=body)
        response = await self._http.send(request, stream=True)
        try:
            await _check(response)
            if "json" in response.headers.get("content-type", ""):
                raise await _no_stream(response)
            text = _EventText(response)
            source = EventSource(cast(httpx.Response, text))
            async with aclosing(source.aiter_sse()) as events:
                async for one in events:
                    text.since_event = 0
                    if one.data == "[DONE]":
                        yield {}
                    # An empty one says nothing, and is not the end.
                    elif one.data and (event := _object(one.data)):
                        yield event
        finally:
            await response.aclose()

    async def vectors(self, body: dict[str, Any]) -> Event:
        """The answer of `POST /v1/embeddings`. Raises Refused, and one of FOREIGN."""
        return await self._whole("POST", "embeddings", json=body)

    async def models(self) -> Event:
        """The answer of `GET /v1/models`. Raises Refused, and one of FOREIGN."""
        return await self._whole("GET", "models")

    async def at_root(self, path: str) -> Event:
        """The answer of a path beside `/v1`. Raises Refused, and one of FOREIGN."""
        return await self._whole("GET", f"{self._root}/{path}")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _whole(self, method: str, path: str, **more: Any) -> Event:
        request = self._http.build_request(method, path, **more)
        response = await self._http.send(request, stream=True)
        try:
            await _check(response)
            found = _object(await _content(response))
        finally:
            await response.aclose()
        if is_error(found):
            raise Refused(Said.of(500, found))
        return found


def _transport(address: Address, entry: FleetEngine) -> AiohttpTransport:
    """aiohttp's connections under httpx's interface, which cost a third of httpx's own CPU time.

    Raises InvalidSetting where the environment names certificates that are not there.
    """
    try:
        kept = _KEPT_AWAY_SECONDS if entry.leaves_the_house else _KEPT_AT_HOME_SECONDS
        return AiohttpTransport(
            # 0 means no limit: the number of slots is the limit.
            limits=httpx.Limits(max_connections=0, keepalive_expiry=kept),
            # For SSL_CERT_FILE and SSL_CERT_DIR alone; a proxy is named beside it.
            trust_env=address.base.startswith("https:"),
            proxy=address.proxy() if entry.leaves_the_house else None,
        )
    except OSError:  # also what ssl raises
        raise InvalidSetting(
            "SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read",
            "Correct it, or unset it.",
        ) from None


async def _check(response: httpx.Response) -> None:
    """Raise Refused for any status but 200."""
    if response.status_code != 200:
        said = Said.read(response.status_code, await _content(response))
        raise Refused(said, retry_after_seconds(response.headers))


async def _content(response: httpx.Response) -> bytes:
    content = b""
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _MOST_BYTES:
            raise ValueError("too long")
    return content


async def _no_stream(response: httpx.Response) -> Exception:
    """What JSON means where events should be: an error, or all of an answer at once."""
    found = _object(await _content(response))
    return Refused(Said.of(500, found)) if is_error(found) else SSEError("no stream")


class _EventText:
    """What EventSource reads of a response, within a bound: a line without an end, or an answer
    that was compressed to a thousandth, would fill the worker's memory."""

    def __init__(self, response: httpx.Response) -> None:
        self.headers, self._response = response.headers, response
        #: Characters since the last event.
        self.since_event = 0

    async def aiter_text(self) -> AsyncGenerator[str]:
        """See httpx.Response. Raises ValueError for an event that is too long."""
        async for text in self._response.aiter_text():
            self.since_event += len(text)
            if self.since_event > _MOST_BYTES:
                raise ValueError("too long")
            yield text


def _object(text: str | bytes) -> Event:
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


class _Authorization(httpx.Auth):
    """Sets the header of each request; the key is in no header of the client, nor in a repr."""

    def __init__(self, api_key: str | None, login: str | None) -> None:
        basic = None if login is None else base64.b64encode(login.encode()).decode()
        self.__value = (
            f"Bearer {api_key}" if api_key else None if basic is None else f"Basic {basic}"
        )

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """See httpx."""
        if self.__value is not None:
            request.headers["Authorization"] = self.__value
        yield request
