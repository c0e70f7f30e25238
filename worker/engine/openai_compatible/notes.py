"""What an operator should know of one server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from local_llm_service.worker.engine.openai_compatible.dialect import FORMATS, Dialect
from local_llm_service.worker.engine.openai_compatible.listing import Listing
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import FleetEngine


def notes_of(
    called: str,
    entry: FleetEngine,
    listing: Listing,
    dialects: Mapping[str, Dialect],
    *,
    counts: bool,
) -> list[str]:
    """Sentences about the engine that is `called` so."""
    found = []
    if not counts:
        found.append(
            f"{called} does not say how many tokens it reads and writes: prompts of its answers "
            "count as 0 tokens"
        )
    if entry.api_key and entry.leaves_the_house and _is_open(entry.url):
        found.append(f"{called} gets its key and all prompts unencrypted: give its url https")
    missing = [one.name for one in entry.models if listing.known and not listing.find(one.name)]
    if missing:
        found.append(f"{called} does not list {', '.join(missing)}, which ENGINES_FILE names")
    for model, dialect in sorted(dialects.items()):
        if dialect.refused:
            left_out = ", ".join(sorted(dialect.refused))
            found.append(f"{full_name(model)} of {called} is asked without {left_out}")
        if FORMATS[0] in dialect.refused_forms:
            found.append(f"{called} does not hold {full_name(model)} to a JSON Schema")
    return found


def _is_open(url: str) -> bool:
    """Whether others on the way can read what is sent; a gateway on this host is no way."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    return parts.scheme == "http" and not is_here
