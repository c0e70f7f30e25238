"""The parts of an engine's URL: where its paths are, who logs in, which proxy leads there."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import httpx


@dataclass(frozen=True, slots=True)
class Address:
    """`base` is what `chat/completions` stands below, `root` the server itself; neither holds the
    `login` ("user:password") that the URL may have named. `masked` is for people."""

    base: str
    root: str
    masked: str
    login: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        """A URL without a path is meant to have `/v1`. What follows a `?` is left out."""
        parts = urlsplit(url)._replace(query="", fragment="")
        login, at, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=host, path=parts.path.rstrip("/") or "/v1")
        masked = parts._replace(netloc=f"***@{host}" if at else host)
        return cls(
            base=urlunsplit(parts),
            root=urlunsplit(parts._replace(path="")),
            masked=urlunsplit(masked),
            login=unquote(login) if at else None,
        )

    def proxy(self) -> httpx.Proxy | None:
        """The proxy that the environment names for this address, if it names one."""
        parts = urlsplit(self.base)
        named = getproxies()
        proxy = named.get(parts.scheme) or named.get("all")
        if not proxy or proxy_bypass(parts.hostname or ""):
            return None
        return httpx.Proxy(proxy)
