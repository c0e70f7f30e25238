"""`/v1/batches`: many calls of one endpoint out of a file, at low priority."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import time
from uuid import uuid4

from starlette.responses import Response, StreamingResponse

from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.batches.batch_models import (
    BatchBody,
    BatchList,
    BatchObject,
    BatchQuery,
    ResultsQuery,
)
from local_llm_service.producers.http.batches.endpoints import ENDPOINTS
from local_llm_service.producers.http.batches.file_routes import about, disk_of
from local_llm_service.producers.http.batches.ids import BATCH, FILE, no_such, own
from local_llm_service.producers.http.batches.partial_results import Part, read_part
from local_llm_service.producers.http.batches.places import BatchPlaces, kept_record
from local_llm_service.producers.http.batches.record import (
    BatchStatus,
    Definition,
    Progress,
    batch_object,
    window_seconds,
)
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.locality import stays_local
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.worker.errors import InvalidRequest, QueueFull
from local_llm_service.worker.store.batches import KEPT_SECONDS, OPEN_MOST, BatchRecord


async def create(call: Call) -> Response:
    """Make a batch of a file."""
    body = await call.read(BatchBody)
    if body.endpoint not in ENDPOINTS:
        raise InvalidRequest(
            "endpoint: lines cannot ask this", f"Use one of {', '.join(sorted(ENDPOINTS))}."
        )
    seconds = window_seconds(body.completion_window)
    await about(call, body.input_file_id, "input_file_id")
    if body.webhook is not None:
        await webhooks.check_target(call.service, body.webhook)
    caller, now = call.caller, int(time())
    kept = body.output_expires_after
    batch = Definition(
        id=f"{BATCH}{caller.new_id()}",
        tag=caller.tag,
        tenant=caller.tenant,
        endpoint=body.endpoint,
        completion_window=body.completion_window,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
        input_file_id=body.input_file_id,
        output_file_id=f"{FILE}{caller.new_id()}",
        error_file_id=f"{FILE}{caller.new_id()}",
        output_seconds=KEPT_SECONDS if kept is None else kept.seconds,
        metadata=body.metadata,
        webhook=body.webhook,
        keep_local=stays_local(call),
        folder=await asyncio.to_thread(disk_of(call).folder_id, make=True),
    )
    record = await _begin(call, batch, Progress())
    return json_reply(batch_object(record))


async def _begin(call: Call, batch: Definition, progress: Progress) -> BatchRecord:
    """Make a new batch's folder, then let it be driven. Raises QueueFull, NotFound."""
    places = BatchPlaces(disk_of(call), batch)
    record = BatchRecord(batch.id, batch.text(), progress.text())
    try:
        if not await asyncio.to_thread(places.make):
            raise no_such(FILE, "input_file_id")
        batches = call.service.store.batches
        made_ms = batch.created_at * 1000
        done = await call.service.drive(
            batches.open_batch(record, batch.tag, uuid4().hex, made_ms, "new")
        )
        if done is None:
            raise _too_many()
        await asyncio.to_thread(places.keep_first, progress)
    except BaseException:  # a caller that is told of a failure has no batch
        await asyncio.shield(asyncio.to_thread(places.drop))
        raise
    return record


def _too_many() -> QueueFull:
    return QueueFull(f"{OPEN_MOST:,} batches are open", "Make the batch when some have ended.")


async def _record(call: Call) -> BatchRecord:
    """The caller's batch that the path names. Raises NotFound."""
    batch_id = own(call.caller, call.request.path_params["batch_id"], BATCH)
    found = await call.service.drive(call.service.store.batches.read(batch_id))
    if found is None:  # Redis may have lost it
        found = await asyncio.to_thread(kept_record, disk_of(call).batch_folder(batch_id))
    if found is None:
        raise no_such(BATCH)
    return found


async def retrieve(call: Call) -> Response:
    """How far a batch is."""
    return json_reply(batch_object(await _record(call)))


async def list_batches(call: Call) -> Response:
    """A page of the caller's batches, the newest first."""
    query = call.read_query(BatchQuery)
    after = "" if query.after is None else own(call.caller, query.after, BATCH, "after")
    calls = call.service.store.batches.list_batches(call.caller.tag, after, query.limit)
    found = await call.service.drive(calls)
    if found is None:
        raise no_such(BATCH, "after")
    records, more = found
    return json_reply(
        {
            "object": "list",
            "data": [batch_object(one) for one in records],
            "first_id": records[0].batch_id if records else None,
            "last_id": records[-1].batch_id if records else None,
            "has_more": more,
        }
    )


async def cancel(call: Call) -> Response:
    """Give up what has no answer yet. A batch that has ended stays as it is."""
    record = await _record(call)
    await call.service.drive(call.service.store.batches.cancel_batch(record.batch_id, int(time())))
    return json_reply(batch_object(await _record(call)))


async def retry(call: Call) -> Response:
    """Run the failed lines of an ended batch once more, in a new completion window."""
    record = await _record(call)
    batch, progress = Definition.of(record.definition), Progress.of(record.progress)
    if not progress.has_ended:
        raise InvalidRequest("the batch has not ended", "Wait for its end, or cancel it.")
    if progress.total is None or progress.failed == 0:
        raise InvalidRequest("the batch has no failed lines", "Make a new batch.")
    again = await _again(call, batch, progress)
    return json_reply(batch_object(again))


async def _again(call: Call, batch: Definition, progress: Progress) -> BatchRecord:
    """Let an ended batch be driven again. Raises InvalidRequest where it cannot be."""
    places = BatchPlaces(disk_of(call), batch)
    if not await asyncio.to_thread(places.can_go_on, progress):
        raise InvalidRequest("the files of this batch are gone", "Make a new batch.")
    seconds = window_seconds(batch.completion_window)
    expires_at = None if seconds is None else int(time()) + seconds
    batch = replace(batch, retries=batch.retries + 1, expires_at=expires_at)
    progress = replace(
        progress,
        status=BatchStatus.IN_PROGRESS,
        finalizing_at=None,
        ended_at=None,
        has_output=False,
        has_errors=False,
    )
    record = BatchRecord(batch.id, batch.text(), progress.text())
    batches, made_ms = call.service.store.batches, batch.created_at * 1000
    # The same nonce for whoever asks for the same: two calls at once are one retry.
    nonce = f"retry {batch.retries}"
    done = await call.service.drive(batches.open_batch(record, batch.tag, nonce, made_ms, "again"))
    if done is None:
        raise _too_many()
    if not done:
        raise InvalidRequest("the batch has not ended", "Wait for its end, or cancel it.")
    return record


async def results(call: Call) -> Response:
    """The answers that there are by now, in the order in which they came."""
    query = call.read_query(ResultsQuery)
    record = await _record(call)
    batch, progress = Definition.of(record.definition), Progress.of(record.progress)
    places = BatchPlaces(disk_of(call), batch)
    part = Part(places.output, 0, 0, 0)
    if progress.output_bytes > 0:
        try:
            part = await asyncio.to_thread(
                read_part, places.output, progress.output_bytes, query.after
            )
        except OSError:
            raise no_such(FILE) from None
    headers = {
        "X-Incomplete": "false" if progress.has_ended else "true",
        "X-Last-Line": str(part.last_line),
        "Content-Length": str(part.end - part.first),
        "Cache-Control": "no-cache",
    }
    return StreamingResponse(part.pieces(), 200, headers, "application/x-ndjson")


_ONE = "/v1/batches/{batch_id}"

OPERATIONS = (
    Operation(
        "POST", "/v1/batches", create, "Make a batch of a file", "batches",
        body=BatchBody, answers={200: BatchObject},
    ),
    Operation(
        "GET", "/v1/batches", list_batches, "List batches, the newest first", "batches",
        query=BatchQuery, answers={200: BatchList},
    ),
    Operation("GET", _ONE, retrieve, "How far a batch is", "batches", answers={200: BatchObject}),
    Operation(
        "POST", f"{_ONE}/cancel", cancel, "Give up what has no answer yet", "batches",
        answers={200: BatchObject},
    ),
    Operation(
        "POST", f"{_ONE}/retry", retry, "Run the failed lines once more", "batches",
        answers={200: BatchObject},
    ),
    Operation(
        "GET", f"{_ONE}/results", results, "The answers so far, also while it runs", "batches",
        query=ResultsQuery, answers={200: "application/x-ndjson"},
    ),
)  # fmt: skip
