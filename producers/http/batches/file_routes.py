"""`/v1/files`: what batches read, and what they have written."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from local_llm_service.producers.http.batches.disk import Disk, FileAbout
from local_llm_service.producers.http.batches.form_upload import FORM_BYTES, FileForm, too_large
from local_llm_service.producers.http.batches.ids import FILE, no_such, own
from local_llm_service.producers.http.call import Call, told_bytes
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.batches import KEPT_SECONDS

#: How long `expires_after` may keep a file, seconds.
FEWEST_SECONDS, MOST_SECONDS = 3600, 2_592_000
_NUMBER = re.compile(r"[0-9]{1,7}")


class FileObject(BaseModel):
    """A file, as OpenAI's API has it. Times are Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None = None
    status_details: None = None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file that is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FileForms(BaseModel):
    """The form of an upload."""

    purpose: Literal["batch"]
    file: str = Field(json_schema_extra={"format": "binary"})
    anchor: Literal["created_at"] = Field("created_at", alias="expires_after[anchor]")
    seconds: int = Field(
        KEPT_SECONDS, ge=FEWEST_SECONDS, le=MOST_SECONDS, alias="expires_after[seconds]"
    )


class FileQuery(BaseModel):
    """Which files to list."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


def disk_of(call: Call) -> Disk:
    """FILES_DIR."""
    return Disk(Path(call.service.settings.files_dir))


def file_object(about: FileAbout) -> dict[str, Any]:
    """A file as its callers get it."""
    return FileObject(**asdict(about)).model_dump()


async def create(call: Call) -> Response:
    """Keep an upload."""
    most = call.service.settings.max_file_bytes
    if (told_bytes(call.request.headers) or 0) > most + FORM_BYTES:
        raise too_large(most)
    file_id, disk = f"{FILE}{call.caller.new_id()}", disk_of(call)
    form = FileForm(call.header("content-type") or "", disk, file_id, most)
    try:
        upload = await form.read(call.request.stream())
        made = int(time())
        about = FileAbout(
            id=file_id,
            bytes=upload.bytes,
            created_at=made,
            filename=form.filename or "",
            purpose="batch",
            expires_at=made + _kept_seconds(form.fields),
        )
        await asyncio.to_thread(upload.end)
        await asyncio.to_thread(disk.keep, about)
    except BaseException:  # also a client that has gone: nothing of its upload stays
        await asyncio.shield(asyncio.to_thread(form.drop))
        raise
    return json_reply(file_object(about))


def _kept_seconds(fields: dict[str, str]) -> int:
    """How long the form wants its file to be kept. Raises InvalidRequest for what it may not."""
    known = {"purpose", "expires_after[anchor]", "expires_after[seconds]"}
    if unknown := fields.keys() - known:
        raise InvalidRequest(f"{min(unknown)}: is no field that is known here", "Leave it out.")
    if fields.get("purpose") != "batch":
        raise InvalidRequest("purpose: must be batch", "Files are for batches here.")
    if fields.get("expires_after[anchor]", "created_at") != "created_at":
        raise InvalidRequest("expires_after.anchor: must be created_at")
    seconds = fields.get("expires_after[seconds]", str(KEPT_SECONDS))
    if not _NUMBER.fullmatch(seconds) or not FEWEST_SECONDS <= int(seconds) <= MOST_SECONDS:
        raise InvalidRequest(f"expires_after.seconds: must be {FEWEST_SECONDS} to {MOST_SECONDS}")
    return int(seconds)


async def list_files(call: Call) -> Response:
    """A page of the caller's files."""
    query = call.read_query(FileQuery)
    found = await asyncio.to_thread(disk_of(call).list, call.caller.tag)
    if query.purpose is not None:
        found = [one for one in found if one.purpose == query.purpose]
    if query.order == "asc":
        found.reverse()
    if query.after is not None:
        ids = [one.id for one in found]
        if query.after not in ids:
            raise no_such(FILE, "after")
        found = found[ids.index(query.after) + 1 :]
    page, more = found[: query.limit], len(found) > query.limit
    return json_reply(
        {
            "object": "list",
            "data": [file_object(one) for one in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": more,
        }
    )


async def about(call: Call, file_id: str, param: str = "") -> FileAbout:
    """One of the caller's files. Raises NotFound."""
    own(call.caller, file_id, FILE, param)
    found = await asyncio.to_thread(disk_of(call).about, file_id)
    if found is None:
        raise no_such(FILE, param)
    return found


async def retrieve(call: Call) -> Response:
    """What is known of a file."""
    return json_reply(file_object(await about(call, call.request.path_params["file_id"])))


async def content(call: Call) -> Response:
    """A file's content."""
    found = await about(call, call.request.path_params["file_id"])
    path = disk_of(call).content(found.id)
    stat = await asyncio.to_thread(_stat, path)
    if stat is None:
        raise no_such(FILE)
    return FileResponse(path, media_type="application/octet-stream", stat_result=stat)


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None


async def delete(call: Call) -> Response:
    """Drop a file. A batch that runs has its own hold on what it reads."""
    file_id = own(call.caller, call.request.path_params["file_id"], FILE)
    if not await asyncio.to_thread(disk_of(call).delete, file_id):
        raise no_such(FILE)
    return json_reply({"id": file_id, "object": "file", "deleted": True})


_ONE = "/v1/files/{file_id}"

OPERATIONS = (
    Operation(
        "POST", "/v1/files", create, "Upload a file of lines for a batch", "batches",
        body=FileForms, answers={200: FileObject}, streams_body=True,
    ),
    Operation(
        "GET", "/v1/files", list_files, "List files", "batches",
        query=FileQuery, answers={200: FileList},
    ),
    Operation("GET", _ONE, retrieve, "What is known of a file", "batches",
              answers={200: FileObject}),
    Operation("GET", f"{_ONE}/content", content, "A file's content", "batches",
              answers={200: "application/octet-stream"}),
    Operation("DELETE", _ONE, delete, "Delete a file", "batches", answers={200: FileDeleted}),
)  # fmt: skip
