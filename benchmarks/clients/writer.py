"""The process that writes texts and results, as many workers do, without an engine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from benchmarks.clients.storer import ANSWER
from benchmarks.dedupe.child import serve
from local_llm_service.worker.app import app
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.outcomes import Work
from local_llm_service.worker.store.store import process_store
from local_llm_service.worker.store.texts import TextAddition


@dataclass
class Running:
    """A job that this process has taken, and its text so far."""

    delivery: Any
    text: str = ""

    def addition(self, piece: str, *, is_complete: bool = False) -> TextAddition:
        """What to write next."""
        at, characters = len(self.text.encode()), len(self.text)
        self.text += piece
        return TextAddition(
            task_id=self.delivery.task_id,
            token=self.delivery.token,
            fingerprint="",
            at_bytes=at,
            at_characters=characters,
            text=piece.encode(),
            is_complete=is_complete,
        )


def take_all() -> list[Running]:
    """Take every job that is queued."""
    jobs = process_store().jobs
    found: list[Running] = []
    while True:
        taken = jobs.take(
            keys.QUEUES, worker="writer", may_take_quarantined=False, nonce=uuid4().hex
        )
        if taken is None:
            return found
        found.append(Running(taken))


def write(pieces: int, batch: int, pause_seconds: float) -> dict[str, Any]:
    """Write so many pieces of each job's text, then store its result.

    Returns the texts, and for each number of characters when it was about to be written.
    """
    running = take_all()
    at: dict[str, dict[int, float]] = {one.delivery.task_id: {} for one in running}
    for number in range(pieces):
        for start in range(0, len(running), batch):
            some = running[start : start + batch]
            additions = [
                one.addition(f"{number} é 😀 {one.delivery.task_id[:8]}. ") for one in some
            ]
            now = _now()
            process_store().texts.write_texts(additions)
            for one in some:
                at[one.delivery.task_id][len(one.text)] = now
            time.sleep(pause_seconds)
    for one in running:
        _end(one)
    return {"texts": {one.delivery.task_id: one.text for one in running}, "at": at}


def _end(one: Running) -> None:
    process_store().texts.write_texts([one.addition("", is_complete=True)])
    in_flight = SimpleNamespace(delivery=one.delivery, work=Work())
    answer = {**ANSWER, "task_id": one.delivery.task_id, "text": one.text}
    app.backend._store_result(
        one.delivery.task_id, answer, "SUCCESS", request=SimpleNamespace(llm_delivery=in_flight)
    )


def _now() -> float:
    seconds, microseconds = process_store().client.time()  # type: ignore[misc]
    return float(seconds) + float(microseconds) / 1_000_000


if __name__ == "__main__":
    serve({"write": write})
