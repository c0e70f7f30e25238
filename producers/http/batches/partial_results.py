"""Reads the answers of a batch that may still run, as far as they are kept for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Part:
    """Bytes of an output, `first` to `end`, whose last line is the `last_line`th, from 1."""

    path: Path
    first: int
    end: int
    last_line: int

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, a piece at a time."""
        at = self.first
        while at < self.end:
            piece = await asyncio.to_thread(_read, self.path, at, min(PIECE_BYTES, self.end - at))
            if not piece:  # somebody has cut the file off: the client sees too few bytes
                return
            at += len(piece)
            yield piece


def read_part(path: Path, end: int, after: int) -> Part:
    """The lines of the first `end` bytes that come behind the `after`th. It blocks.

    Raises FileNotFoundError.
    """
    lines = at = 0
    first = 0 if after == 0 else end
    with path.open("rb") as file:
        while at < end and (piece := file.read(min(PIECE_BYTES, end - at))):
            found = piece.count(b"\n")
            if first == end and lines < after <= lines + found:
                first = at + _behind(piece, after - lines)
            lines, at = lines + found, at + len(piece)
    return Part(path, min(first, at), at, lines)


def _behind(piece: bytes, count: int) -> int:
    """Where the line behind the `count`th line feed begins."""
    place = -1
    for _ in range(count):
        place = piece.index(b"\n", place + 1)
    return place + 1


def _read(path: Path, at: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)
