"""Vectors of texts that some job has had made: a job asks the engine for the others only.

A text has a name, the fingerprint of itself and of what makes its vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from local_llm_service.worker.prompt import Vector
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import CacheBounds


class Vectors:
    """The vectors in Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts, bounds: CacheBounds) -> None:
        self._scripts, self._bounds = scripts, bounds

    def known(self, names: Sequence[str]) -> dict[str, Vector]:
        """The vectors that are there, by name."""
        keys = [f"{self._scripts.keys.vector}{name}" for name in names]
        found = cast(list[str | None], self._scripts.client.mget(keys)) if keys else []
        pairs = zip(names, found, strict=True)
        return {name: json.loads(text) for name, text in pairs if text is not None}

    def keep_vectors(self, vectors: Mapping[str, Vector]) -> int:
        """Keep vectors by name, as long and as many as the result cache; how many are new."""
        bounds = self._bounds
        args: list[str | int] = [bounds.seconds, bounds.entry_bytes, bounds.total_bytes]
        for name, vector in vectors.items():
            args += [name, json.dumps(vector, separators=(",", ":"))]
        return int(self._scripts.run("keep_vectors", args))
