"""Writes the texts of a worker's runs into Redis while the model generates them, for readers.

The engine hands over each piece on its own thread, which must not wait for Redis. One thread for
all slots sends: the first piece of a run at once, then what has come meanwhile, in groups. It lives
while there is something to send. Whatever goes wrong costs readers time, never the job its answer:
at the end they get what they lack from that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import redis

from local_llm_service.worker.store.bounds import TEXT_BYTES_MOST
from local_llm_service.worker.store.texts import TextAddition, Written

logger = logging.getLogger(__name__)

#: The longest pause between a piece and its way to the readers, and how many pieces shorten it, to
#: no less than this: a sending costs 0.06 ms of CPU.
GROUP_SECONDS, GROUP_PIECES, LEAST_SECONDS = 0.05, 32, 0.01
#: Pause after Redis was away, or took no text because it was full.
AGAIN_SECONDS = 1.0
#: Without anything to send, the thread ends after this time.
IDLE_SECONDS = 10.0


class TextStore(Protocol):
    """What is needed of store.texts.Texts. Both calls raise redis-py's errors."""

    def write_text(self, addition: TextAddition) -> Written:
        """Add to a run's text."""

    def write_texts(self, additions: list[TextAddition]) -> list[Written | redis.RedisError]:
        """Add to those of several runs."""


class RunText:
    """One text of a run. Nothing of it goes to Redis until somebody wants it."""

    def __init__(
        self, writer: TextWriter, task_id: str, token: str, fingerprint: str, number: int
    ) -> None:
        """As `TextWriter.open`."""
        self._writer, self._number = writer, number
        self._task_id, self._token, self._fingerprint = task_id, token, fingerprint
        #: All pieces, as they may have to be sent, or sent again, from the start.
        self._pieces: list[str] = []
        self._characters = 0
        self._is_wanted = False
        #: It may be sent, and has not outgrown its bound.
        self._is_open, self._fits = True, True
        #: When it may be sent next; None while that is not planned.
        self.due: float | None = None
        #: Held while something of it is sent.
        self.sending = threading.Lock()
        self._not_before = float("-inf")
        self._sent_at = float("-inf")
        self._sent_pieces = self._sent_bytes = self._sent_characters = 0

    def add(self, piece: str) -> None:
        """Take the next piece; returns at once."""
        if self._characters > TEXT_BYTES_MOST:
            self._fits = False
            return
        self._pieces.append(piece)
        self._characters += len(piece)
        # Without a lock: the sender sets `due` to None before it looks at the pieces.
        if self._is_wanted and (self.due is None or self.unsent == GROUP_PIECES):
            self._writer.plan(self)

    def want(self) -> None:
        """Write all that there is, and what comes; any thread may say so, any number of times."""
        self._is_wanted = True
        if self._pieces:
            self._writer.plan(self)

    def end(self, *, is_complete: bool) -> None:
        """Send the rest, before the job's result is stored. No piece may come any more.

        `is_complete`: the model has come to its end.
        """
        self._writer.end(self, is_complete=is_complete and self._fits)

    @property
    def unsent(self) -> int:
        """How many pieces are not sent."""
        return len(self._pieces) - self._sent_pieces

    @property
    def is_written(self) -> bool:
        """Whether it goes to Redis."""
        return self._is_open and self._is_wanted

    @property
    def has_news(self) -> bool:
        """Whether something of it is to be sent."""
        return self.is_written and self.unsent > 0

    def next_at(self, now: float) -> float:
        """When to send what there is."""
        pause = LEAST_SECONDS if self.unsent >= GROUP_PIECES else GROUP_SECONDS
        return max(now, self._sent_at + pause, self._not_before)

    def addition(self, *, is_complete: bool = False) -> tuple[TextAddition, int]:
        """What is to be sent now, and how many pieces that makes of all."""
        count = len(self._pieces)
        text = "".join(self._pieces[self._sent_pieces : count]).encode(errors="replace")
        room = TEXT_BYTES_MOST - self._sent_bytes
        if len(text) > room:
            self._fits, is_complete = False, False
            text = text[:room].decode(errors="ignore").encode()
        place = (self._sent_bytes, self._sent_characters)
        mine = (self._task_id, self._token, self._fingerprint)
        return TextAddition(*mine, *place, text, is_complete, self._number), count

    def sent(self, addition: TextAddition, count: int, written: Written, now: float) -> None:
        """Note what became of an addition."""
        self._sent_at = now
        if written is Written.ADDED:
            self._sent_pieces = count
            self._sent_bytes = addition.at_bytes + len(addition.text)
            self._sent_characters = addition.at_characters + len(addition.text.decode())
        elif written is Written.GONE:
            self._sent_pieces = self._sent_bytes = self._sent_characters = 0
        if written is Written.OVER or not self._fits:
            self.close()

    def refused(self, now: float) -> None:
        """Note that Redis took nothing."""
        self._not_before = now + AGAIN_SECONDS

    def close(self) -> None:
        """Send nothing any more."""
        self._is_open = False


class TextWriter:
    """Sends the texts of one worker. Its thread starts with the first that somebody wants."""

    def __init__(self, texts: TextStore, clock: Callable[[], float] = monotonic) -> None:
        self._texts, self._clock = texts, clock
        self._planned: set[RunText] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = float("inf")
        self._is_away = self._is_stopped = False

    def open(self, task_id: str, token: str, fingerprint: str = "", number: int = 0) -> RunText:
        """A new run's text; see RunText. `fingerprint` is that of the group that the job leads, or
        empty; `number` counts the texts of the run, of which readers keep the last."""
        return RunText(self, task_id, token, fingerprint, number)

    def plan(self, text: RunText) -> None:
        """Let a text be sent when it is time for it; returns at once."""
        with self._changed:
            if self._is_stopped:
                return
            text.due = text.next_at(self._clock())
            self._planned.add(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="text-writer", daemon=True)
                self._thread.start()
            elif text.due < self._wakes_at:
                self._changed.notify()

    def end(self, text: RunText, *, is_complete: bool) -> None:
        """Send the rest of a text in the caller's thread; see RunText.end."""
        with self._changed:
            self._planned.discard(text)
        with text.sending:
            tries = 2  # what is to be there may be gone, with a Redis that was restarted
            while text.is_written and tries and (is_complete or text.unsent):
                tries -= 1
                addition, count = text.addition(is_complete=is_complete)
                try:
                    written = self._texts.write_text(addition)
                except redis.RedisError as error:
                    self._say(error)
                    break
                text.sent(addition, count, written, self._clock())
                if written is Written.ADDED:
                    break
            text.close()

    def stop(self) -> None:
        """End the thread. What is not sent then is sent when its run ends."""
        with self._changed:
            thread, self._is_stopped = self._thread, True
            self._planned.clear()
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout=5)

    def send_due(self) -> None:
        """Send all texts that are due, in one round trip."""
        now = self._clock()
        with self._changed:
            due = [text for text in self._planned if (text.due or 0) <= now]
            self._planned.difference_update(due)
            for text in due:
                text.due = None
        # Who holds another one sends its rest just now, and that is the end of it.
        mine = [one for one in due if one.has_news and one.sending.acquire(blocking=False)]
        try:
            self._send([(text, *text.addition()) for text in mine])
        finally:
            for text in mine:
                text.sending.release()
        for text in mine:
            if text.is_written:
                self.plan(text)  # more will come: so its piece need not wake this thread

    def _send(self, batch: list[tuple[RunText, TextAddition, int]]) -> None:
        if not batch:
            return
        replies: list[Written | redis.RedisError]
        try:
            replies = self._texts.write_texts([addition for _, addition, _ in batch])
        except redis.RedisError as error:
            replies = [error] * len(batch)
        now = self._clock()
        for (text, addition, count), reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                self._say(reply)
                text.refused(now)
            else:
                self._is_away = False
                text.sent(addition, count, reply, now)

    def _say(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("no text is written now: %s", type(error).__name__)
        self._is_away = True

    def _run(self) -> None:
        while self._wait():
            try:
                self.send_due()
            except Exception as error:  # noqa: BLE001  # the edge of the thread
                logger.critical("text writer: unexpected %s", type(error).__name__)

    def _wait(self) -> bool:
        """Wait until a text is due; False when nobody has had one for a while."""
        idle_until = self._clock() + IDLE_SECONDS
        with self._changed:
            while True:
                now = self._clock()
                wakes_at = min((text.due or 0 for text in self._planned), default=idle_until)
                if self._planned and wakes_at <= now:
                    return True
                if wakes_at <= now or self._is_stopped:
                    self._thread = None
                    return False
                self._wakes_at = wakes_at
                self._changed.wait(wakes_at - now)
