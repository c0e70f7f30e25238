"""Whether a process may serve callers without an API key: who reaches only loopback is at home."""

from __future__ import annotations

from local_llm_service.producers.http.callers.hosts import is_loopback_name
from local_llm_service.worker.settings import Settings


def may_be_anonymous(settings: Settings) -> bool:
    """Whether it may, as long as nobody has made a key."""
    return settings.allow_anonymous or is_loopback(settings.local_llm_bind)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    return is_loopback_name(f"[{host}]" if ":" in host else host)
