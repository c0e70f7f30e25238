"""Which names a service without API keys is asked by: its machine's own.

A web page can let its own host's name lead to 127.0.0.1 (DNS rebinding), and its browser then takes
the service for a part of the page: the name in `Host` gives it away.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from local_llm_service.worker.errors import Forbidden


def check_host(header: str) -> None:
    """Raise Forbidden for a `Host` that is another name than this machine's for itself."""
    if not is_loopback_name(header):
        raise Forbidden(
            "Host: a service without API keys answers to localhost and loopback addresses only",
            "Make a key with `local-llm keys add NAME`, or set ALLOW_ANONYMOUS=1.",
        )


def is_loopback_name(host: str) -> bool:
    """Whether a `Host`, with or without its port, is localhost or a loopback address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
