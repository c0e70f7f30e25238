"""WEBHOOK_ALLOW: where webhooks may go. What is not named there is never connected to."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from local_llm_service.producers.http.webhooks.target import (
    Address,
    Target,
    plain_address,
    read_host,
)
from local_llm_service.worker.errors import InvalidRequest, InvalidSetting

Network = IPv4Network | IPv6Network

#: The IPv6 addresses that anybody on the internet can have.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
#: Addresses in which an IPv4 address is wrapped: a gateway connects to that one.
_NAT64 = IPv6Network("64:ff9b::/96")
#: What Python 3.11 takes for global: protocols' own blocks and documentation, and 6to4, in which an
#: IPv4 address is wrapped as well.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"),
    )
)

_ENTRY = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


class _Entry(NamedTuple):
    """A host's name, the end of many (`.example.com`), or a network; at one port or any (None)."""

    host: str
    network: Network | None
    port: int | None

    def names(self, target: Target) -> bool:
        if self.port not in (None, target.port):
            return False
        if self.network is not None:
            return target.address is not None and target.address in self.network
        if self.host.startswith("."):
            return target.address is None and target.host.endswith(self.host)
        return target.host == self.host


class AllowList:
    """The hosts, addresses and networks of one WEBHOOK_ALLOW."""

    def __init__(self, entries: tuple[_Entry, ...]) -> None:
        self._entries = entries

    @staticmethod
    @lru_cache(maxsize=8)
    def of(text: str) -> AllowList:
        """Read the setting: entries with commas or white space between. Raises InvalidSetting."""
        return AllowList(tuple(_entry(word) for word in re.split(r"[\s,]+", text) if word))

    def names(self, target: Target) -> bool:
        """Whether webhooks may go to this host and port."""
        return any(entry.names(target) for entry in self._entries)

    def opens(self, address: Address, port: int) -> bool:
        """Whether a named host may have this address: it is public, or named itself."""
        address = plain_address(address)
        return is_public(address) or any(
            entry.network is not None and address in entry.network and entry.port in (None, port)
            for entry in self._entries
        )


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet, and not of this host, site or provider."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if address not in _GLOBAL_IPV6:
            return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in block for block in _SPECIAL)


def _entry(text: str) -> _Entry:
    network = _network(text.removeprefix("[").removesuffix("]"))
    if network is not None:
        return _Entry("", network, None)
    found = _ENTRY.fullmatch(text)
    if found is None or (found["port"] and not 1 <= int(found["port"]) <= 65_535):
        raise _wrong()
    host, port = found["host"].lower(), int(found["port"]) if found["port"] else None
    network = _network(host.removeprefix("[").removesuffix("]"))
    if network is not None:
        return _Entry("", network, port)
    try:
        read_host(host.removeprefix("*."))
    except InvalidRequest:
        raise _wrong() from None
    return _Entry(host.removeprefix("*"), None, port)


def _network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.packed[-4:], max(0, network.prefixlen - 96)))
    return network


def _wrong() -> InvalidSetting:
    return InvalidSetting(
        "setting WEBHOOK_ALLOW: must be host, host:port, *.host, an IP address or a network, with "
        "commas between"
    )
