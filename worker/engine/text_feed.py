"""Hands one answer's text to its sink, and sees to it that a bad sink harms nobody but itself."""

from __future__ import annotations

import logging
import threading

from local_llm_service.worker.engine.protocol import TextSink

logger = logging.getLogger(__name__)


class TextFeed:
    """The way from one stream to one sink. It is open until `close`, or until the sink raises.

    A sink that has failed gets nothing more, because a reader can use text that ends early and
    cannot use text with a hole in it. The answer itself goes on: others may wait for it.
    """

    def __init__(self, sink: TextSink | None) -> None:
        self._sink = sink
        # `close` comes from the caller's thread, pieces from the loop's.
        self._lock = threading.Lock()

    def send(self, piece: str) -> None:
        """Hand over one piece; never raises."""
        with self._lock:
            if self._sink is None:
                return
            try:
                self._sink(piece)
            # Whatever it is: SystemExit would end the loop, and every slot's answer with it. No
            # cancellation of the engine's can arise here, as nothing is awaited.
            except BaseException as error:  # noqa: BLE001
                self._sink = None
                # The type alone: an exception's words may hold the text.
                logger.warning("an answer's text goes nowhere now: %s", type(error).__name__)

    def close(self) -> None:
        """Wait for a piece that is being handed over; from now on there are no more."""
        with self._lock:
            self._sink = None
