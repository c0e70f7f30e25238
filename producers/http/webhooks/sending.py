"""One try to deliver an event: resolved once, checked, and connected to the very address that was
checked.

A client of its own, since it has to do less than others can: it takes an address from nobody, no
proxy, login or cookie from its surroundings, follows nothing, and reads no more than a few kB. A
server that answers `100 Continue` without an end held up the whole loop of a general client.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from ipaddress import ip_address
from time import time
from typing import Any, NamedTuple

import httptools

from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.target import Address, Target, plain_address

#: A try takes no longer, name look-up and all; and one address gets no longer to be connected to.
#: Seconds.
TRY_SECONDS = 15.0
CONNECT_SECONDS = 5.0
#: A response has to have said its status and its headers by then. Bytes.
HEAD_BYTES = 16_384
#: How long the end of a connection may take. Seconds.
CLOSE_SECONDS = 1.0

#: A name server that does not answer holds a look-up's thread, longer than a try takes. The loop's
#: own threads, of which there may be five, serve callers.
_LOOK_UPS = ThreadPoolExecutor(8, "webhook-names")

#: Finds the addresses of a host's name. Raises OSError.
Resolve = Callable[[str], Awaitable[Sequence[Address]]]


class Reply(NamedTuple):
    """What came of a try. `code`: the status, or a word for none. `status` 0: there was none.
    `retry_after_seconds`: the host wants no other try before."""

    code: str
    status: int = 0
    retry_after_seconds: float = 0.0


async def addresses_of(host: str) -> list[Address]:
    """The addresses that this machine knows a name by."""
    loop = asyncio.get_running_loop()
    look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    found = await loop.run_in_executor(_LOOK_UPS, look_up)
    return [ip_address(str(where[0]).partition("%")[0]) for *_, where in found]


async def send(
    target: Target,
    allowed: AllowList,
    body: bytes,
    headers: Mapping[str, str],
    *,
    resolve: Resolve = addresses_of,
    try_seconds: float = TRY_SECONDS,
) -> Reply:
    """Send a body to a target. Never raises, but for a cancel."""
    if not allowed.names(target):
        return Reply("not_allowed")
    try:
        async with asyncio.timeout(try_seconds):
            addresses = await _addresses(target, allowed, resolve)
            return await _try(target, addresses, _request(target, body, headers))
    except _Failed as failed:
        return Reply(failed.code)
    except TimeoutError:
        return Reply("timeout")
    except OSError:
        return Reply("broken")


class _Failed(Exception):
    """There is no status; `code` is the word for that."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def _addresses(target: Target, allowed: AllowList, resolve: Resolve) -> list[Address]:
    """The addresses that may be connected to, at least one."""
    found: Sequence[Address] = () if target.address is None else [target.address]
    if target.address is None:
        try:
            found = await resolve(target.host)
        except (OSError, UnicodeError):
            raise _Failed("no_address") from None
    addresses = [plain_address(one) for one in found if allowed.opens(one, target.port)]
    if not addresses:
        raise _Failed("not_allowed" if found else "no_address")
    return addresses


async def _try(target: Target, addresses: Sequence[Address], request: bytes) -> Reply:
    reader, writer = await _connected(target, addresses)
    try:
        writer.write(request)
        head = _Head()
        while head.status == 0:
            data = await reader.read(HEAD_BYTES)
            if not data:
                raise _Failed("broken")
            head.add(data)
        return Reply(str(head.status), head.status, wait_wanted(head.retry_after))
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()


async def _connected(
    target: Target, addresses: Sequence[Address]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one; TLS verifies the name."""
    tls: dict[str, Any] = {}
    if target.scheme == "https":
        tls = {
            "ssl": tls_context(),
            "server_hostname": target.host,
            "ssl_shutdown_timeout": CLOSE_SECONDS,
        }
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(
                    str(address), target.port, limit=HEAD_BYTES, **tls
                )
        except ssl.SSLError:
            raise _Failed("tls") from None
        except OSError:  # also a TimeoutError
            continue
    raise _Failed("unreachable")


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """How certificates are verified, as on this machine. Reads files."""
    return ssl.create_default_context()


def _request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = 443 if target.scheme == "https" else 80
    path = f"{target.path}?{target.query}" if target.query else target.path
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}" if target.port == usual else f"Host: {host}:{target.port}",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class _Head:
    """The head of a response. `status` is 0 until there is one that is no interim one."""

    def __init__(self) -> None:
        self.status, self.retry_after = 0, ""
        self._bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def add(self, data: bytes) -> None:
        """Read on. Raises _Failed for what is no head of a response, or too long."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.status == 0:
                raise _Failed("broken") from None
        self._bytes += len(data)
        if self.status == 0 and self._bytes >= HEAD_BYTES:
            raise _Failed("broken")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, as httptools tells it."""
        if name.lower() == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All of them, as httptools tells it."""
        status = self._parser.get_status_code()
        if (status >= 200 or status == 101) and self.status == 0:  # no interim response
            self.status = status


def wait_wanted(retry_after: str) -> float:
    """The seconds of a Retry-After; 0 without one, or with one that cannot be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, when.timestamp() - time())
    except (ValueError, OverflowError):
        return 0.0
