"""The rules of REDIS_URL and OLLAMA_HOST. No error shows what it was given: passwords are in it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from pydantic import RedisDsn, TypeAdapter, ValidationError

from local_llm_service.worker.redis_url import check_redis_url

DEFAULT_OLLAMA_PORT: Final = 11434
_SCHEME: Final = re.compile(r"^https?://", re.IGNORECASE)


def check_redis_address(url: str) -> str:
    """Return `url` as all who read it do, or raise ValueError where it is none of Redis."""
    try:
        TypeAdapter(RedisDsn).validate_python(url)
    except ValidationError as error:
        reason = error.errors(include_input=False, include_url=False)[0]["msg"]
    else:
        return check_redis_url(url)
    # Outside of `except`: pydantic's error holds the URL with its password.
    reason = reason.removeprefix("Input should be a valid URL, ").removeprefix("URL scheme ")
    raise ValueError(f"must be a URL such as redis://:password@host:6379/0 ({reason})")


def check_ollama_host(host: str) -> str:
    """Return `host` as a URL; it may be what `ollama` itself accepts, a bare host and port.

    Raises ValueError where it is neither.
    """
    url = host.strip()
    if not url:
        raise ValueError("must not be empty")
    if not _SCHEME.match(url):
        url = f"http://{_with_port(url)}"
    if not _has_host_and_port(url):
        raise ValueError("must be a host, host:port or a URL, for example http://127.0.0.1:11434")
    return url


def _with_port(host: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(host.strip('[]'))}]:{DEFAULT_OLLAMA_PORT}"
    except ValueError:
        has_port = re.search(r":\d+(/|$)", host)
        return host if has_port else f"{host}:{DEFAULT_OLLAMA_PORT}"


def _has_host_and_port(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    name = parts.hostname or ""
    return bool(re.fullmatch(r"[\w.:%-]+", name)) and port != 0
