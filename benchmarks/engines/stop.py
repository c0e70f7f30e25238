"""How soon the server sees the connection closed after a stop in the middle of an answer."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.engines.servers import KINDS, PROMPT, Pieces, engine_of
from local_llm_service.worker.errors import Cancelled, ServiceError


class _Stop:
    """A caller that stops at the third piece of text."""

    def __init__(self) -> None:
        self.reason: ServiceError | None = None
        self.stopped_at = 0.0
        self._stop: Callable[[], None] | None = None
        self._pieces = 0

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        self._stop = stop

    @property
    def wanted_seconds(self) -> Callable[[], float]:
        return lambda: 0.0

    def take(self, _: str) -> None:
        self._pieces += 1
        if self._pieces == 3:
            threading.Thread(target=self._end).start()

    def _end(self) -> None:
        self.reason, self.stopped_at = Cancelled("enough"), time.monotonic()
        if self._stop is not None:
            self._stop()


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Milliseconds from the stop to the closed connection, median and most."""
    measures: list[Measure] = []
    raw: dict[str, Any] = {}
    for kind in KINDS:
        seconds = []
        with engine_of(kind, Pieces(3, hangs=True)) as (engine, closed_at):
            for _ in range(5 if short else 50):
                stop = _Stop()
                with suppress(Cancelled):
                    engine.complete(
                        PROMPT, model="m", remaining_seconds=60, stoppable=stop, on_text=stop.take
                    )
                seconds.append(closed_at() - stop.stopped_at)
        raw[kind] = seconds
        measures.append(
            Measure(f"{kind}: stop, median", statistics.median(seconds) * 1e3, unit="ms")
        )
        measures.append(Measure(f"{kind}: stop, most", max(seconds) * 1e3, unit="ms", limit=100.0))
    return measures, raw
