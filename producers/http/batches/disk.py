"""Files in FILES_DIR: their content, and beside it what is known of each. Everything here blocks.

    id                                                names this folder, wherever it is mounted
    <tag, or "anonymous">/files/<file id>.jsonl       content
                          files/<file id>.json        what is known of it: with this it is a file
                          batches/<batch id>/         of one batch: see places.py

Nothing that a caller sends is part of a path. Replicas share the folder.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import Any, Final
from uuid import uuid4

from local_llm_service.producers.http.batches.ids import tag_of
from local_llm_service.worker.errors import FilesUnavailable
from local_llm_service.worker.store.batches import KEPT_SECONDS

ANONYMOUS: Final = "anonymous"
#: What a killed process left is dropped after so long: of an upload; of a batch that never ended,
#: whose output is content without a file.
_LEFTOVERS: Final = {"*.part": 86_400, "*.new": 86_400, "*.jsonl": KEPT_SECONDS}


@dataclass(frozen=True, slots=True)
class FileAbout:
    """What is known of a file. Times are Unix seconds; None: it is kept until it is deleted."""

    id: str
    bytes: int
    created_at: int
    filename: str = field(repr=False)
    purpose: str
    expires_at: int | None = None

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= time()


class Disk:
    """FILES_DIR. Raises FilesUnavailable where the disk does not do what it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def folder_id(self, *, make: bool = False) -> str:
        """The folder's name for itself; empty where it has none yet and is not to `make` one.

        Processes with different FILES_DIR on one Redis know by it whose a batch is.
        """
        place = self.root / "id"
        with ready():
            if make and not place.exists():
                make_folder(self.root)
                fresh = place.with_name(f"id.{uuid4().hex[:8]}.new")
                fresh.write_text(uuid4().hex)
                with suppress(FileExistsError):  # another process was quicker
                    os.link(fresh, place)
                fresh.unlink()
            with suppress(FileNotFoundError):
                return place.read_text()
        return ""

    def content(self, file_id: str) -> Path:
        """Where a file's content is."""
        return self._files(file_id) / f"{file_id}.jsonl"

    def batch_folder(self, batch_id: str) -> Path:
        """Where all that belongs to one batch alone is."""
        return self._of(tag_of(batch_id)) / "batches" / batch_id

    def about(self, file_id: str) -> FileAbout | None:
        """What is known of a file; None where there is none, or its time is over."""
        with ready():
            found = self._read(self._about(file_id))
        return None if found is None or found.has_expired else found

    def list(self, tag: str) -> list[FileAbout]:
        """The files of one tenant, the newest first."""
        folder = self._of(tag) / "files"
        with ready():
            try:
                names = [one.path for one in os.scandir(folder) if one.name.endswith(".json")]
            except FileNotFoundError:
                return []
            found = [self._read(Path(name)) for name in names]
        kept = [one for one in found if one is not None and not one.has_expired]
        return sorted(kept, key=lambda one: (one.created_at, one.id), reverse=True)

    def keep(self, about: FileAbout) -> None:
        """Let content that is there be a file."""
        with ready():
            write_json(self._about(about.id), asdict(about))

    def hide(self, file_id: str) -> None:
        """Let content be a file no more; it stays."""
        with ready():
            self._about(file_id).unlink(missing_ok=True)

    def delete(self, file_id: str) -> bool:
        """Drop a file; False where there is none."""
        with ready():
            try:
                self._about(file_id).unlink()
            except FileNotFoundError:
                return False
            self.content(file_id).unlink(missing_ok=True)
        return True

    def upload(self, file_id: str) -> Upload:
        """Begin a new file."""
        with ready():
            make_folder(self._files(file_id))
            return Upload(self.content(file_id))

    def batch_folders(self) -> Iterator[Path]:
        """The folders of all batches."""
        with ready():
            yield from self.root.glob("*/batches/batch_*")

    def sweep(self) -> None:
        """Drop files whose time is over, and what killed processes left of uploads."""
        with ready():
            for path in self.root.glob("*/files/*.json"):
                about = self._read(path)
                if about is not None and about.has_expired:
                    self.delete(about.id)
            for pattern, seconds in _LEFTOVERS.items():
                for path in self.root.glob(f"*/files/{pattern}"):
                    with suppress(FileNotFoundError):
                        is_old = time() - path.stat().st_mtime > seconds
                        if is_old and not path.with_suffix(".json").exists():
                            path.unlink()

    def _of(self, tag: str) -> Path:
        return self.root / (tag or ANONYMOUS)

    def _files(self, file_id: str) -> Path:
        return self._of(tag_of(file_id)) / "files"

    def _about(self, file_id: str) -> Path:
        return self._files(file_id) / f"{file_id}.json"

    def _read(self, path: Path) -> FileAbout | None:
        found = read_json(path)
        try:
            return FileAbout(**found) if isinstance(found, dict) else None
        except TypeError:  # written by another version
            return None


class Upload:
    """Content on its way to the disk; `drop` leaves nothing of it."""

    def __init__(self, place: Path) -> None:
        self._place, self._part = place, place.with_suffix(f".{uuid4().hex[:8]}.part")
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Add to it."""
        with ready():
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            self.bytes += len(data)

    def end(self) -> None:
        """It is complete."""
        with ready():
            os.fsync(self._file)
            self._close()
            self._part.replace(self._place)

    def drop(self) -> None:
        """Leave nothing of it, complete or not."""
        self._close()
        for path in (self._part, self._place):
            with suppress(OSError):
                path.unlink()

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):
                os.close(file)


@contextmanager
def ready() -> Iterator[None]:
    """Let errors of the disk be FilesUnavailable, without a path."""
    try:
        yield
    except OSError as error:
        word = errno.errorcode.get(error.errno or 0, "an error")
        raise FilesUnavailable(f"the folder of files cannot be used now ({word})") from None


def make_folder(path: Path) -> None:
    """Make a folder that other users of this host cannot look into."""
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(exist_ok=True, mode=0o700)


def read_json(path: Path) -> Any:
    """What a file of ours holds; None where it is not there, or not whole."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all, also where this process or the host dies meanwhile."""
    fresh = path.with_name(f"{path.name}.{uuid4().hex[:8]}.new")
    with fresh.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
