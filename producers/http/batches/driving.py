"""What each HTTP process does for batches: takes some under a lease, drives them, and tells how
far they are.

A driver that cannot renew its lease stops writing before anybody else can get the batch; who gets
it goes on by the ledger. Files that a lost Redis knew come back from the disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.batches.disk import Disk
from local_llm_service.producers.http.batches.drive import Drive, Pause
from local_llm_service.producers.http.batches.ids import tag_of
from local_llm_service.producers.http.batches.places import BatchPlaces, kept_records
from local_llm_service.producers.http.batches.record import Definition, Progress
from local_llm_service.producers.http.known_models import check_model
from local_llm_service.producers.http.service import HttpService
from local_llm_service.tasks.outcome import place_of
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.store.batches import BatchRecord, ClaimedBatch

logger = logging.getLogger(__name__)

#: Batches that one process drives at once; more of them wait.
AT_ONCE: Final = 4
#: How long a batch stays with a driver that renews nothing, how often one renews, and how much
#: sooner than that it stops writing by itself.
LEASE_SECONDS, RENEW_SECONDS, MARGIN_SECONDS = 8.0, 1.0, 2.0
#: How often a process looks for a batch that waits.
CLAIM_SECONDS: Final = 0.5
#: How long the end of the process waits for its batches to be put down.
STOP_SECONDS: Final = 8.0
#: Expired files are looked for so often.
SWEEP_SECONDS: Final = 600.0


async def drive_batches(service: HttpService) -> None:
    """Drive batches until the process ends."""
    driver = BatchDriver(service)
    try:
        await driver.run()
    finally:
        stopping = asyncio.ensure_future(driver.stop())
        while not stopping.done():  # a cancel, which is how this process says it, ends nothing here
            with suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)


class BatchDriver:
    """The batches of one process."""

    def __init__(self, service: HttpService) -> None:
        self._service, self._batches = service, service.store.batches
        self._disk = Disk(Path(service.settings.files_dir))
        self._drives: dict[str, Drive] = {}
        self._tending: set[asyncio.Task[None]] = set()
        self._digests: Mapping[str, str] = {}
        self._trouble = ""
        self._swept = -SWEEP_SECONDS

    async def run(self) -> None:
        """Claim what waits, until the process is told to end."""
        stopping = self._service.stopping
        while not stopping.is_set():
            try:
                await self._restore()
                while await self._claim():
                    pass
                await self._sweep()
                self._say("")
            except ServiceError as error:
                self._say(error.code)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), CLAIM_SECONDS)

    async def stop(self) -> None:
        """Put all batches down; another process gets them at once."""
        for drive in self._drives.values():
            drive.is_interrupted = True
        if self._tending:
            await asyncio.wait(self._tending, timeout=STOP_SECONDS)
        for task in self._tending:
            task.cancel()

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble and trouble:
            logger.warning("batches wait: %s", trouble)
        elif trouble != self._trouble:
            logger.info("batches go on")
        self._trouble = trouble

    async def _claim(self) -> bool:
        """Take one batch, where there is room for it, or it only has to be ended."""
        sent_at, nonce = monotonic(), uuid4().hex
        if len(self._drives) >= 2 * AT_ONCE:
            return False
        is_full = len(self._drives) >= AT_ONCE
        calls = self._batches.claim_batch(nonce, int(LEASE_SECONDS * 1000), cancelled=is_full)
        claimed = await self._service.drive(calls)
        if claimed is None:
            return False
        record = claimed.record
        if record.batch_id in self._drives:  # Redis was away, or has lost it, and it is being ended
            await self._give_back(claimed)
            return False
        try:
            if not await asyncio.to_thread(self._has_files, record):
                await self._give_back(claimed)
                return False
            drive = self._drive_of(claimed, sent_at)
        except (TypeError, ValueError):  # it stays with us for a lease, so others go first
            logger.error("a batch is of another version of this service: %s", record.batch_id)
            return True
        self._drives[record.batch_id] = drive
        task = asyncio.create_task(self._tend(drive))
        self._tending.add(task)
        task.add_done_callback(self._tending.discard)
        return True

    async def _give_back(self, claimed: ClaimedBatch) -> None:
        record = claimed.record
        back = self._batches.note_batch(record.batch_id, claimed.token, record.progress, 0)
        await self._service.drive(back)

    def _has_files(self, record: BatchRecord) -> bool:
        """Whether the batch's files are in this process's FILES_DIR; those of another are left to
        processes that share it."""
        folder = Definition.of(record.definition).folder
        if folder in ("", self._disk.folder_id()):
            return True
        self._say("its files are in another FILES_DIR")
        return False

    def _drive_of(self, claimed: ClaimedBatch, sent_at: float) -> Drive:
        record = claimed.record
        return Drive(
            BatchPlaces(self._disk, Definition.of(record.definition)),
            claimed.token,
            self._service.client,
            self._service.settings.max_body_bytes,
            Progress.of(record.progress),
            check_model=self._in_loop(lambda model: check_model(self._service, model)),
            digests=lambda: self._digests,
            held_until=_held_until(sent_at),
            is_cancelled=record.cancelling_at is not None,
        )

    def _in_loop(
        self, call: Callable[[str | None], Coroutine[Any, Any, None]]
    ) -> Callable[[str | None], None]:
        """The same, blocking, for another thread."""
        loop = asyncio.get_running_loop()

        def made(model: str | None) -> None:
            asyncio.run_coroutine_threadsafe(call(model), loop).result()

        return made

    async def _tend(self, drive: Drive) -> None:
        """Renew a batch's lease while its thread runs; then end it, or put it down."""
        batch_id = drive.places.batch.id
        try:
            done = _in_a_thread(drive, f"llm-batch-{batch_id[-12:]}")
            while not done.done():
                await asyncio.wait({done}, timeout=RENEW_SECONDS)
                await self._renew(drive)
            pause = self._ending(done)
            if pause is None:
                await self._end(drive)
            else:
                await self._put_down(drive, pause)
        finally:
            drive.is_interrupted = True
            self._drives.pop(batch_id, None)

    def _ending(self, done: asyncio.Future[Pause | None]) -> Pause | None:
        try:
            return done.result()
        except Exception as error:  # noqa: BLE001  # an edge: its text may hold a line
            logger.error("a batch failed: %s", place_of(error))
            return Pause(60.0)

    async def _renew(self, drive: Drive) -> None:
        try:
            await self._note(drive, int(LEASE_SECONDS * 1000))
            models = await self._service.models()
            self._digests = {full_name(one["name"]): one["digest"] for one in models}
        except ServiceError as error:
            self._say(error.code)

    async def _note(self, drive: Drive, lease_ms: int) -> bool:
        """Tell Redis how far it is; False: the batch is another's. Raises BrokerUnreachable."""
        sent_at, batch, text = monotonic(), drive.places.batch, drive.progress.text()
        calls = self._batches.note_batch(batch.id, drive.token, text, lease_ms)
        has_it, cancelled_at = await self._service.drive(calls)
        if has_it:
            drive.is_cancelled |= cancelled_at is not None
            if lease_ms > 0:
                drive.held_until = _held_until(sent_at)
            return True
        drive.held_until, drive.is_interrupted = 0.0, True
        if has_it is None:  # Redis has lost it: it comes back, and goes on with its next claim
            await self._open(BatchRecord(batch.id, batch.text(), text))
        return False

    async def _end(self, drive: Drive) -> None:
        """Tell that the batch has ended, and whoever is to be told of it."""
        batch, status = drive.places.batch, drive.progress.status
        while not self._service.stopping.is_set():
            try:
                if not await self._note(drive, int(LEASE_SECONDS * 1000)):
                    return
                if batch.webhook is not None:
                    name = f"batch.{status}"
                    await webhooks.notify(self._service, name, batch.id, batch.webhook)
                await self._note(drive, -1)
                return
            except ServiceError as error:
                self._say(error.code)
                await asyncio.sleep(RENEW_SECONDS)

    async def _put_down(self, drive: Drive, pause: Pause) -> None:
        with suppress(ServiceError):  # then its lease runs out
            await self._note(drive, int(pause.seconds * 1000))

    async def _restore(self) -> None:
        """Give Redis every batch of the disk that it does not know."""
        if await self._service.drive(self._batches.is_restored()):
            return
        for record in await asyncio.to_thread(kept_records, self._disk):
            if await self._service.drive(self._batches.read(record.batch_id)) is None:
                await self._open(record)
        await self._service.drive(self._batches.note_restored())

    async def _open(self, record: BatchRecord) -> None:
        made_ms = Definition.of(record.definition).created_at * 1000
        how = "ended" if Progress.of(record.progress).has_ended else "new"
        calls = self._batches.open_batch(record, tag_of(record.batch_id), uuid4().hex, made_ms, how)  # type: ignore[arg-type]
        await self._service.drive(calls)

    async def _sweep(self) -> None:
        if monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = monotonic()
            await asyncio.to_thread(self._disk.sweep)


def _held_until(sent_at: float) -> float:
    """Until when a lease that was asked for then is certain."""
    return sent_at + LEASE_SECONDS - MARGIN_SECONDS


def _in_a_thread(drive: Drive, name: str) -> asyncio.Future[Pause | None]:
    """Run a drive in a thread of its own: those of the loop are too few, and for short work."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Pause | None] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def run() -> None:
        try:
            found = drive.run()
        except BaseException as error:  # noqa: BLE001  # whoever waits gets it
            args: tuple[Any, ...] = (done.set_exception, error)
        else:
            args = (done.set_result, found)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, *args)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
