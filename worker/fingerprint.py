"""The fingerprint: one name for everything that can change an answer, the same in every process.

Jobs with equal fingerprints may share one answer: it is the key of the cache and of single flight.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache

_ENCODER = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,  # with escapes, two lone surrogates would read as one character
    check_circular=False,  # `_folded` fails on a circle already; this saves 1 µs
)


def fingerprint(
    *,
    kind: str,
    template_version: int,
    model: str,
    revision: str,
    content: Mapping[str, object],
    scope: str | None,
) -> str:
    """SHA-256, in 64 hex characters, of one canonical JSON document of all arguments.

    `revision` names how workers run the model: its digest and the settings that matter. `content`
    is JSON-like, with its defaults filled in: a missing key is not the same as None. The order of
    keys does not matter, nor whether a number is written 1 or 1.0; white space does, and true is
    not 1. `scope` keeps tenants apart; None is a scope of its own.
    """
    folded = {name: _folded(value) for name, value in content.items()}
    document = _ENCODER.encode([kind, template_version, model, revision, scope, folded])
    # A lone surrogate is not valid UTF-8; passed through as it is, it collides with nothing.
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=4096)  # a job asks some fifty times
def full_name(model: str) -> str:
    """The model's name with its tag, as Ollama lists it."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _folded(value: object) -> object:
    """The value with whole floats as integers: 0 for -0.0, 1000 for 1e3."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
