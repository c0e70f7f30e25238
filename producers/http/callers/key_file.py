"""API keys in a file, JSON, instead of in Redis: `{"keys": [record, ...]}`.

It is written whole or not at all, and read again as soon as it has changed. One that cannot be
read leaves the keys as they were: half a file opens nothing and locks nobody out.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.store.api_keys import ApiKey

logger = logging.getLogger(__name__)

_MOST_BYTES = 16 * 1024 * 1024


class KeyFile:
    """The keys of one file. A file that is not there has none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays one when the file is written
        self._records: dict[str, str] = {}
        self._seen: object = None

    def records(self) -> Mapping[str, str]:
        """The record of each key, by its id, as the file is now.

        Raises InvalidSetting where it cannot be read.
        """
        seen = self._signature()
        if seen != self._seen:
            # Noted first: what is written in between has another signature at the next call.
            self._records, self._seen = self._read(), seen
        return self._records

    def last_records(self) -> Mapping[str, str]:
        """The same; while it cannot be read, what it last held. Never raises."""
        try:
            return self.records()
        except InvalidSetting as error:
            # Said once for each state of the file.
            seen = self._signature()
            if seen != self._seen:
                logger.error("%s; the keys stay as they were", error)
            self._seen = seen
            return self._records

    def write(self, key_id: str, before: str, after: str) -> bool:
        """Write a record ("": none) where it still is as before; returns whether it was.

        Raises InvalidSetting where the file cannot be read, OSError where it cannot be written.
        """
        with self._locked():
            records = self._read()
            if records.get(key_id, "") != before:
                return False
            if after:
                records[key_id] = after
            else:
                records.pop(key_id, None)
            self._replace(records)
            return True

    def _signature(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> dict[str, str]:
        try:
            with open(self.path, "rb") as file:
                text = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _broken(f"cannot be read ({error.strerror})") from None
        if len(text) > _MOST_BYTES:
            raise _broken("is too large")
        try:
            found = [ApiKey.model_validate(one) for one in _listed(json.loads(text))]
        except (ValueError, RecursionError):  # of JSON, of UTF-8, of pydantic: each with its input
            found = None
        if found is None:
            raise _broken("is no file of API keys")
        if len({key.name for key in found}) != len(found):
            raise _broken("has two keys of one name")
        return {key.key_id: key.as_text() for key in found}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among those who write. The lock is a file of its own: this one is replaced."""
        lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _replace(self, records: Mapping[str, str]) -> None:
        keys = [json.loads(text) for text in records.values()]
        text = json.dumps({"keys": keys}, indent=2) + "\n"
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w") as file:  # mkstemp has made it for its owner alone: 0600
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def _listed(document: Any) -> list[Any]:
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError
    return keys


def _broken(what: str) -> InvalidSetting:
    return InvalidSetting(
        f"setting API_KEYS_FILE: the file {what}", "Mend it; `local-llm keys add --file` writes it."
    )
