"""The files that a batch writes: answers, of which the ledger knows the size, and error lines.

Lines are gathered and written as a group. What a killed run wrote beyond its last commit is cut
off at the next start, so no line is there twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from local_llm_service.producers.batch.ledger_file import InUse
from local_llm_service.worker.errors import InvalidRequest

#: The last bytes before the committed end, by which a replaced output is known.
TAIL_BYTES: Final = 4096

_ANEW: Final = "Put it back, or move it away together with its ledger to begin anew."


class NotWritten(Exception):
    """The disk, or the database, takes no more. What was committed before is safe."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"cannot write {self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an output is committed: bytes, and a digest of the last TAIL_BYTES of them."""

    size_bytes: int = 0
    tail: str = hashlib.sha256().hexdigest()

    @classmethod
    def of(cls, kept: Any) -> Extent:
        """The extent that a ledger holds; nothing, of a new one."""
        return cls() if kept is None else cls(**kept)

    def plain(self) -> dict[str, Any]:
        """What a ledger holds of it."""
        return asdict(self)


class Output:
    """The file of answers. `restore` comes first. Raises NotWritten where the disk is full."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._group: list[bytes] = []
        self.group_bytes = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"{path}: {_reason(error)}", "Give another output.") from None
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            self.close()
            raise InvalidRequest(f"{path}: is not a file", "Give a file, or - for stdout.")
        try:  # the ledger's lock is not enough: --ledger may name another one
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            hint = "Wait until it ends, or give another output."
            raise InUse(f"another run writes this output: {path}", hint) from None
        self._size = 0

    def close(self) -> None:
        """Close the file; what was not flushed is not in it."""
        os.close(self._file)

    def restore(self, extent: Extent, *, was_running: bool) -> None:
        """Cut off what no commit covers. Raises InvalidRequest where the file is not ours.

        `was_running`: the run before was killed, and may have written more than it committed.
        """
        size = os.fstat(self._file).st_size
        if size < extent.size_bytes or self._tail(extent.size_bytes) != extent.tail:
            raise InvalidRequest(f"{self.path}: is not what this batch wrote", _ANEW)
        if size > extent.size_bytes and not was_running:
            problem = "holds lines that this batch did not write"
            raise InvalidRequest(f"{self.path}: {problem}", _ANEW)
        os.ftruncate(self._file, extent.size_bytes)
        self._size = extent.size_bytes

    def add(self, text: bytes) -> None:
        """Write one line with the next group."""
        self._group.append(text)
        self.group_bytes += len(text)

    def flush(self) -> Extent:
        """Write the group and see that it is on the disk; return what can be committed now."""
        data, self._group, self.group_bytes = b"".join(self._group), [], 0
        try:
            _write_at(self._file, data, self._size)
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):  # leave no half of a line
                os.ftruncate(self._file, self._size)
            raise NotWritten(self.path, _reason(error)) from None
        self._size += len(data)
        return Extent(self._size, self._tail(self._size))

    def _tail(self, end: int) -> str:
        begin = max(0, end - TAIL_BYTES)
        return hashlib.sha256(os.pread(self._file, end - begin, begin)).hexdigest()


class Standard:
    """Answers on stdout: written at once, and nothing can be taken back."""

    path = "-"

    def __init__(self) -> None:
        self._group: list[bytes] = []
        self.group_bytes = 0

    def close(self) -> None:
        """See Output.close."""

    def restore(self, extent: Extent, *, was_running: bool) -> None:
        """See Output.restore: there is nothing to restore."""

    def add(self, text: bytes) -> None:
        """See Output.add."""
        self._group.append(text)
        self.group_bytes += len(text)

    def flush(self) -> Extent:
        """See Output.flush. A reader that has gone is BrokenPipeError, as for every command."""
        data, self._group, self.group_bytes = b"".join(self._group), [], 0
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(1, left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise NotWritten("stdout", _reason(error)) from None
        return Extent()


class ErrorLines:
    """The file of failed lines, `X.errors.jsonl`: there is one as soon as a line has failed.

    The ledger has them all, so the file is made from it at each start and each end.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._group: list[str] = []

    def rewrite(self, lines: Iterable[str]) -> None:
        """Let the file hold exactly these lines. Raises NotWritten."""
        self._group.clear()
        if self.path is None:
            return
        fresh = Path(f"{self.path}.new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
                if empty := file.tell() == 0:
                    Path(self.path).unlink(missing_ok=True)
                file.flush()
                os.fsync(file.fileno())
            fresh.unlink() if empty else fresh.replace(self.path)
        except OSError as error:
            raise NotWritten(self.path, _reason(error)) from None

    def add(self, line: str) -> None:
        """Append one line with the next group."""
        self._group.append(line)

    def flush(self) -> None:
        """Append the group. Raises NotWritten."""
        lines, self._group = self._group, []
        if self.path is None or not lines:
            return
        try:
            with Path(self.path).open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise NotWritten(self.path, _reason(error)) from None


class ErrorNotes(ErrorLines):
    """Error lines of a batch on stdout: said at once, as no file keeps them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(None)
        self._say = say

    def add(self, line: str) -> None:
        """See ErrorLines.add."""
        self._say(line)


def _write_at(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or "is not a file name"
