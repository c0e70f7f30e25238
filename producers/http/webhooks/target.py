"""A webhook's URL, taken apart by one grammar.

The request is put together from these parts again, so that nothing can read the URL another way
than this check did.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from local_llm_service.worker.errors import InvalidRequest

Address = IPv4Address | IPv6Address

#: The longest URL, characters.
URL_MOST = 2000

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]{2,45}\]|[0-9a-z._-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$-;=@-Z_a-z~]*)?(?:\?(?P<query>[!$-;=?-Z_a-z~]*))?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[0-9a-z_]([0-9a-z_-]{0,61}[0-9a-z_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Target(NamedTuple):
    """Where a webhook goes. `host` is in small letters; an IP address stands there in its one usual
    form, and in `address`."""

    scheme: str
    host: str
    port: int
    path: str
    query: str
    address: Address | None


def parse_target(url: str) -> Target:
    """Read a webhook's URL. Raises InvalidRequest; the message holds nothing of it."""
    if len(url) > URL_MOST:
        raise InvalidRequest(f"webhook: must have at most {URL_MOST} characters")
    found = _URL.fullmatch(url)
    if found is None:
        raise InvalidRequest(
            "webhook: must be an http or https URL in ASCII, without a login and a fragment",
            "Write https://host/path, other scripts of a host's name as xn--…, other characters "
            "as %xx.",
        )
    scheme = found["scheme"].lower()
    port = int(found["port"] or (443 if scheme == "https" else 80))
    if not 1 <= port <= 65_535:
        raise InvalidRequest("webhook: the port must be from 1 to 65535")
    address = read_host(found["host"].lower())
    host = found["host"].lower() if address is None else str(address)
    return Target(scheme, host, port, found["path"] or "/", found["query"] or "", address)


def read_host(host: str) -> Address | None:
    """The IP address that a host is, or None for a name. Raises InvalidRequest for neither.

    `127.1`, `0x7f000001`, `0177.0.0.1` and `2130706433` are 127.0.0.1 to some readers: none of them
    is taken.
    """
    if host.startswith("["):
        try:
            return plain_address(IPv6Address(host[1:-1]))
        except ipaddress.AddressValueError:
            raise InvalidRequest("webhook: must have a valid IPv6 address in brackets") from None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(host)
        except ipaddress.AddressValueError:
            raise InvalidRequest(
                "webhook: must have an IPv4 address as four decimal numbers, if it has one"
            ) from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidRequest("webhook: must have the name of a host, without a dot at its end")
    return None


def plain_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for on this machine; else itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
