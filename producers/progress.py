"""How far a job is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps; `phase` says in a word what the job does, or how it ended."""

    done: int
    total: int
    phase: str
