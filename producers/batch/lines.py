"""Reads the lines of a batch: files, gzip, stdin. It knows nothing of what a line says.

A line is never held together with its file: memory is bounded by the longest line, and that by
MOST_LINE_BYTES.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from local_llm_service.worker.errors import InvalidRequest

#: A longer line becomes an error line unread. MAX_PROMPT_CHARS is 400,000 characters by default, of
#: which each takes at most 12 bytes of JSON.
MOST_LINE_BYTES: Final = 32 * 1024 * 1024

#: Bytes of a line's SHA-256 that are kept: as many as an id needs, too.
DIGEST_BYTES: Final = 16

_PIECE_BYTES: Final = 1024 * 1024
_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_ONE_A_LINE = "Give one JSON object a line, for example by `jq -c '.[]' FILE`, or `jq -c . FILE`."


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank.

    `number` counts from 1 over all inputs, blank lines left out; `place` says where it is, for
    people. `text` is None for a line of more than MOST_LINE_BYTES. `part` is the part of the input
    that ends with it, 0 to 1; None where nobody can know.
    """

    number: int
    place: str
    text: bytes | None
    digest: bytes
    part: float | None = None


class Source(Protocol):
    """Where lines come from. `lines()` raises InvalidRequest where the input is broken.

    `keeps_order`: a line has the same number each time that the input is read.
    """

    keeps_order: bool

    def lines(self) -> Iterator[Line]:
        """All lines, once."""


class Files:
    """Files in the given order; `-` is stdin. What gzip has written is known by its first bytes,
    unless it is not to be unpacked: a stranger's could go on for days.

    Raises InvalidRequest for what cannot be read at all.
    """

    keeps_order = True

    def __init__(self, paths: Sequence[str], *, unpacks: bool = True) -> None:
        if list(paths).count("-") > 1:
            raise InvalidRequest("stdin is given twice", "Give each input once.")
        self.paths, self._unpacks = list(paths), unpacks
        self._sizes = [_size_of(path) for path in self.paths]
        self._earlier, self._current = 0, 0
        self._number = 0

    def lines(self) -> Iterator[Line]:
        """See Source.lines."""
        for path, size in zip(self.paths, self._sizes, strict=True):
            self._current = 0
            yield from self._lines_of(path, size)
            self._earlier, self._current = self._earlier + (size or 0), 0

    def _part(self) -> float | None:
        """The part that has been read; compressed bytes count as they are."""
        if None in self._sizes:
            return None
        total = sum(size or 0 for size in self._sizes)
        return min(1.0, (self._earlier + self._current) / total) if total else 1.0

    def _lines_of(self, path: str, size: int | None) -> Iterator[Line]:
        name = name_of(path)
        at = 0
        try:
            with ExitStack() as opened:
                raw = opened.enter_context(_open(path))
                stream = _unpacked(raw, name, unpacks=self._unpacks)
                packed, seen = stream is not raw and size is not None, 0
                for at, (text, digest, length) in enumerate(_split(stream), 1):
                    seen += length
                    self._current = raw.tell() if packed else seen
                    if digest is None:
                        continue
                    if at == 1:
                        _refuse_document(text, name)
                    self._number += 1
                    yield Line(self._number, f"{name}:{at}", text, digest, self._part())
        except (EOFError, gzip.BadGzipFile, zlib.error):
            problem = f"{name}: is broken as gzip after line {at}"
            raise InvalidRequest(problem, "Compress or copy it again.") from None
        except OSError as error:
            raise InvalidRequest(f"{name}: {error.strerror} after line {at}", _TRY) from None


_TRY: Final = "Give a file that can be read, then start the same command again."


def name_of(path: str) -> str:
    """An input as messages name it."""
    return "stdin" if path == "-" else path


def digest_of(text: bytes) -> bytes:
    """What stands for a line's content in the ledger."""
    return hashlib.sha256(text).digest()[:DIGEST_BYTES]


def _size_of(path: str) -> int | None:
    """The size of a file, bytes; None for what is not one. Raises InvalidRequest."""
    try:
        found = os.fstat(0) if path == "-" else Path(path).stat()
        if path != "-":
            with Path(path).open("rb"):
                pass
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "is not a file name"
        raise InvalidRequest(f"{name_of(path)}: {problem}", "Give a file that exists.") from None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _open(path: str) -> BinaryIO:
    if path != "-":
        return Path(path).open("rb", buffering=_PIECE_BYTES)
    # Not sys.stdin: Python's end waits for the lock of that, which a thread that reads it holds.
    return cast(BinaryIO, io.BufferedReader(io.FileIO(0, closefd=False), _PIECE_BYTES))


def _unpacked(raw: BinaryIO, name: str, *, unpacks: bool) -> BinaryIO:
    """The bytes of the text itself, without a byte-order mark. Raises InvalidRequest."""
    stream = raw
    if unpacks and _peek(raw, 2) == _GZIP:
        stream = cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=raw)))
    if _peek(stream, 2) in _UTF16:
        raise InvalidRequest(f"{name}: is UTF-16", "Convert it: `iconv -f utf-16 -t utf-8`.")
    if _peek(stream, 3) == _BOM:
        stream.read(3)
    return stream


def _peek(stream: BinaryIO, count: int) -> bytes:
    return cast(io.BufferedReader, stream).peek(count)[:count]


def _split(stream: BinaryIO) -> Iterator[tuple[bytes | None, bytes | None, int]]:
    """Each line as text, digest and bytes read; a blank one has no digest, a huge one no text."""
    while piece := stream.readline(MOST_LINE_BYTES + 2):
        text = piece.rstrip(b"\r\n")
        if len(text) <= MOST_LINE_BYTES:
            yield text, digest_of(text) if text.strip() else None, len(piece)
            continue
        whole, length = hashlib.sha256(piece), len(piece)
        while not piece.endswith(b"\n") and (piece := stream.readline(_PIECE_BYTES)):
            whole.update(piece)
            length += len(piece)
        yield None, whole.digest()[:DIGEST_BYTES], length


def _refuse_document(text: bytes | None, name: str) -> None:
    """Raise InvalidRequest where the first line shows one JSON document over many lines."""
    if text is not None and text.strip() in (b"[", b"{", b"[{", b"[["):
        raise InvalidRequest(f"{name}: is one JSON document over many lines", _ONE_A_LINE)
