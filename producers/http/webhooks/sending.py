"""One try to deliver an event: resolved once, checked, and connected to the very address that was
checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from time import time
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.target import Address, Target, plain_address

#: A try takes no longer, name look-up and all. Seconds.
TRY_SECONDS = 15.0
#: No more of a response's body than this gets into memory; none of it is read. Bytes.
BODY_BYTES = 4096
#: The most header lines of a response; each has at most 8190 bytes.
HEADERS_MOST = 64

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
            return await _send(target, allowed, body, headers, resolve)
    except TimeoutError:
        return Reply("timeout")
    except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError, ssl.SSLError):
        return Reply("tls")
    except aiohttp.ClientConnectorError:
        return Reply("unreachable")
    except (aiohttp.ClientError, OSError, ValueError):
        return Reply("broken")


async def _send(
    target: Target, allowed: AllowList, body: bytes, headers: Mapping[str, str], resolve: Resolve
) -> Reply:
    found: Sequence[Address] = () if target.address is None else [target.address]
    if target.address is None:
        try:
            found = await resolve(target.host)
        except (OSError, UnicodeError):
            return Reply("no_address")
    addresses = [plain_address(one) for one in found if allowed.opens(one, target.port)]
    if not addresses:
        return Reply("not_allowed" if found else "no_address")
    # One session for one request: no connection outlives the check of its address. It takes no
    # proxy, login or cookie from anywhere.
    connector = aiohttp.TCPConnector(
        resolver=_Checked(addresses), use_dns_cache=False, force_close=True, limit=1
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),  # that of `send` is for all of it
        read_bufsize=BODY_BYTES,
        max_headers=HEADERS_MOST,
    ) as session:
        response = await session.post(
            _url(target), data=body, headers=headers, allow_redirects=False
        )
        try:
            return Reply(str(response.status), response.status, _wait_wanted(response.headers))
        finally:
            response.close()  # not released, which would read its body


class _Checked(AbstractResolver):
    """Knows one host's checked addresses, and asks nobody."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All of them; the host stays the name in TLS and in the header Host."""
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=families[address.version],
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _url(target: Target) -> URL:
    url = URL.build(
        scheme=target.scheme,
        host=f"[{target.host}]" if ":" in target.host else target.host,
        port=target.port,
        path=target.path,
        query_string=target.query,
        encoded=True,
    )
    if (url.raw_host, url.port) != (target.host, target.port):  # aiohttp would connect elsewhere
        raise ValueError("the URL is read in two ways")
    return url


def _wait_wanted(headers: Mapping[str, str]) -> float:
    """The seconds of Retry-After; 0 without one, or with one that cannot be read."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, when.timestamp() - time())
    except (ValueError, OverflowError):
        return 0.0
