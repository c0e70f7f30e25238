"""Reads `multipart/form-data` with one file, which goes to the disk as it comes.

Starlette's own reader keeps files in the folder of temporary files, and bounds none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from local_llm_service.producers.http.batches.disk import Disk, Upload
from local_llm_service.worker.errors import InvalidRequest, TooLarge

#: The longest pause in an upload, and all of it; seconds.
SILENT_SECONDS, WHOLE_SECONDS = 60.0, 3600.0
#: What is gathered before it is written.
PIECE_BYTES: Final = 1024 * 1024
#: Bounds of what is not the file: parts, each one's content and headers, and all together.
PARTS_MOST, FIELD_BYTES, HEADER_BYTES, FORM_BYTES = 16, 4096, 8192, 65_536
FILENAME_CHARACTERS: Final = 255

_HINT = "Send multipart/form-data with `purpose` and `file`, as `client.files.create` does."
_NAME = re.compile(r"[\w\[\]]{1,64}", re.ASCII)


class FileForm:
    """One form: `fields` by name, and the file, whose content goes to `upload`."""

    def __init__(self, content_type: str, disk: Disk, file_id: str, most_bytes: int) -> None:
        """Raises InvalidRequest for another content type."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("Content-Type: must be multipart/form-data", _HINT)
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.upload: Upload | None = None
        self._disk, self._file_id, self._most = disk, file_id, most_bytes
        self._pieces: list[bytes] = []
        self._waiting = self._size = self._parts = 0
        self._has_ended = False
        self._part_begins()
        self._parts = 0
        self._parser = MultipartParser(boundary, self._callbacks())

    async def read(self, body: AsyncIterator[bytes]) -> Upload:
        """Read the body to its end; the file is written, and not yet kept.

        Raises InvalidRequest, TooLarge, FilesUnavailable.
        """
        total = 0
        async for piece in _lively(body):
            total += len(piece)
            if total > self._most + FORM_BYTES:
                raise too_large(self._most)
            try:
                self._parser.write(piece)
            except FormParserError:
                raise InvalidRequest("the body is not the form that it says it is", _HINT) from None
            if self._waiting >= PIECE_BYTES:
                await self._write()
        if not self._has_ended:
            raise InvalidRequest("the body ends before the form does", _HINT)
        if self.filename is None:
            raise InvalidRequest("file: is missing", _HINT)
        return await self._write()

    def drop(self) -> None:
        """Leave nothing on the disk."""
        if self.upload is not None:
            self.upload.drop()

    async def _write(self) -> Upload:
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        if self.upload is None:
            self.upload = await asyncio.to_thread(self._disk.upload, self._file_id)
        await asyncio.to_thread(self.upload.write, b"".join(pieces))
        return self.upload

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_name_comes,
            "on_header_value": self._header_value_comes,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data_comes,
            "on_part_end": self._part_ends,
            "on_end": self._form_ends,
        }

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MOST:
            raise InvalidRequest("the form has too many parts", _HINT)
        self._name, self._is_file, self._field = "", False, b""
        self._header_name = self._header_value = self._disposition = b""
        self._header_bytes = 0

    def _header_name_comes(self, data: bytes, start: int, end: int) -> None:
        self._header_name += self._bounded(data[start:end])

    def _header_value_comes(self, data: bytes, start: int, end: int) -> None:
        self._header_value += self._bounded(data[start:end])

    def _bounded(self, piece: bytes) -> bytes:
        self._header_bytes += len(piece)
        if self._header_bytes > HEADER_BYTES:
            raise InvalidRequest("a part of the form has too long headers", _HINT)
        return piece

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if not _NAME.fullmatch(self._name):
            raise InvalidRequest("a part of the form has no name that is known", _HINT)
        self._is_file = self._name == "file"
        if self._name in self.fields or (self._is_file and self.filename is not None):
            raise InvalidRequest(f"{self._name}: is given twice")
        if self._is_file:
            given = options.get(b"filename", b"").decode(errors="replace")
            shown = "".join(one for one in given if one.isprintable())
            self.filename = shown[:FILENAME_CHARACTERS] or "upload.jsonl"

    def _data_comes(self, data: bytes, start: int, end: int) -> None:
        piece = bytes(data[start:end])
        if not self._is_file:
            self._field += piece
            if len(self._field) > FIELD_BYTES:
                raise InvalidRequest(f"{self._name}: is too long")
            return
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._size += len(piece)
        if self._size > self._most:
            raise too_large(self._most)

    def _part_ends(self) -> None:
        if not self._is_file:
            try:
                self.fields[self._name] = self._field.decode()
            except UnicodeDecodeError:
                raise InvalidRequest(f"{self._name}: is not UTF-8") from None

    def _form_ends(self) -> None:
        self._has_ended = True


async def _lively(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body, as long as it comes. Raises InvalidRequest where it does not."""
    end = asyncio.get_running_loop().time() + WHOLE_SECONDS
    try:
        while True:
            left = end - asyncio.get_running_loop().time()
            yield await asyncio.wait_for(anext(body), min(SILENT_SECONDS, left))
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise InvalidRequest("the body does not come to its end", "Send it faster.") from None


def too_large(most: int) -> TooLarge:
    """The error for a file of more than MAX_FILE_BYTES."""
    return TooLarge(f"file: has more than {most} bytes (MAX_FILE_BYTES)")
