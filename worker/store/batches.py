"""Batches of HTTP in Redis, as calls (calls.py): what each is, how far it is, and who drives it.

One driver at a time has a batch, under a lease; its fencing token rises with each claim. What a
batch asks and answers is in files, never here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys

#: A batch's record, and its files, are kept so long after the last change.
KEPT_SECONDS: Final = 30 * 86_400
#: More open batches are refused: each is looked at by every claim.
OPEN_MOST: Final = 1000
#: How long it is known that every batch on the disk has a record.
RESTORED_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What Redis has of one batch. `definition` and `progress` are JSON, of producers/http/batches.

    `cancelling_at` is Unix time, seconds; None where nobody has cancelled it.
    """

    batch_id: str
    definition: str = field(repr=False)
    progress: str = field(repr=False)
    cancelling_at: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """A batch that this driver has now."""

    record: BatchRecord
    token: int


class Batches:
    """The calls. Each raises redis-py's errors where it is driven."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def open_batch(
        self,
        record: BatchRecord,
        tag: str,
        nonce: str,
        made_ms: int,
        how: Literal["new", "again", "ended"],
    ) -> Calls[bool | None]:
        """Keep a batch and let it be driven; `again`: one that has ended.

        False where a new one is there, or one for `again` is open or gone; None where OPEN_MOST
        are open.
        """
        args = [record.batch_id, tag, nonce, how, record.definition, record.progress, made_ms]
        reply = yield Script("open_batch", [*args, KEPT_SECONDS, OPEN_MOST])
        return None if int(reply) < 0 else bool(int(reply))

    def claim_batch(
        self, nonce: str, lease_ms: int, *, cancelled: bool = False
    ) -> Calls[ClaimedBatch | None]:
        """Take the batch that waits longest, if one does; `cancelled`: only one that is."""
        found = yield Script("claim_batch", [nonce, lease_ms, int(cancelled)])
        if not found:
            return None
        batch_id, token, *words = found
        return ClaimedBatch(_record(batch_id, *words), int(token))

    def note_batch(
        self, batch_id: str, token: int, progress: str, lease_ms: int
    ) -> Calls[tuple[bool | None, int | None]]:
        """Note how far a batch is, and hold it `lease_ms` more; 0 gives it back, -1 ends it.

        Returns whether this driver has it (None: Redis has no record of it), and when it was
        cancelled.
        """
        args = [batch_id, token, progress, lease_ms, KEPT_SECONDS]
        held, *rest = yield Script("note_batch", args)
        has_it = None if int(held) < 0 else bool(int(held))
        return has_it, _time(rest[0]) if rest else None

    def cancel_batch(self, batch_id: str, at: int) -> Calls[bool]:
        """Mark a batch as cancelled; False for one that has ended or is not there."""
        return bool(int((yield Script("cancel_batch", [batch_id, at]))))

    def read(self, batch_id: str) -> Calls[BatchRecord | None]:
        """One batch."""
        record = f"{self._keys.batch}{batch_id}"
        words = yield Command(("HMGET", record, "definition", "progress", "cancelling_at"))
        definition, progress, cancelling = words
        if definition is None:
            return None
        return _record(batch_id, definition, progress, cancelling or "")

    def list_batches(
        self, tag: str, after: str, most: int
    ) -> Calls[tuple[list[BatchRecord], bool] | None]:
        """A tenant's batches, the newest first, and whether there are more.

        None where `after`, the id to begin behind, is not among them.
        """
        reply = yield Script("list_batches", [tag, after, most])
        if not reply:
            return None
        more, *words = reply
        fours = zip(*(words[at::4] for at in range(4)), strict=True)
        return [_record(*four) for four in fours], bool(int(more))

    def is_restored(self) -> Calls[bool]:
        """Whether every batch on the disk had a record a moment ago."""
        return bool((yield Command(("EXISTS", self._keys.batches_restored))))

    def note_restored(self) -> Calls[None]:
        """Every batch on the disk has a record now."""
        key = self._keys.batches_restored
        yield Command(("SET", key, "1", "EX", RESTORED_SECONDS))


def _record(batch_id: str, definition: str, progress: str, cancelling: str) -> BatchRecord:
    return BatchRecord(batch_id, definition, progress, _time(cancelling))


def _time(word: str) -> int | None:
    return int(word) if word else None
