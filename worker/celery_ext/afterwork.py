"""Does what follows a result: counts chord parts, fails chains, calls errbacks, copies results.

settle.lua writes down that there is something to do, with the message that says what, in the step
that stores the result. So a worker can die at any moment, and Redis can be full: some worker does
it later. A thread of its own does it, because a broker of another app may be slow.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import states
from celery.app.task import Context

from local_llm_service.worker.celery_ext import chords, plain_app, plain_json
from local_llm_service.worker.celery_ext.patience import repeated
from local_llm_service.worker.store.afterwork import Afterwork, AfterworkEntry

logger = logging.getLogger(__name__)

#: Between two looks for what other workers have left; one's own is done at once.
LOOK_SECONDS = 1.0
AT_ONCE = 20


class AfterworkThread:
    """Start it once per worker; `nudge` it after a settle. `chores` run with each look."""

    def __init__(
        self,
        afterwork: Afterwork,
        backend: Callable[[], Any],
        chores: Sequence[Callable[[], object]],
    ) -> None:
        self._afterwork, self._backend, self._chores = afterwork, backend, chores
        self._nudged, self._stopped = threading.Event(), threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="afterwork", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def nudge(self) -> None:
        """Look at once."""
        self._nudged.set()

    def stop(self) -> None:
        """Do what is left, for 5 s at most, and end; another worker does the rest."""
        self._stopped.set()
        self._nudged.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            stopped = self._stopped.is_set()
            for chore in (self.do_all, *self._chores):
                self._safely(chore)
            if stopped:
                return
            self._nudged.wait(LOOK_SECONDS)
            self._nudged.clear()

    def _safely(self, chore: Callable[[], object]) -> None:
        try:
            chore()
            self._failing = False
        except Exception as error:  # noqa: BLE001  # the edge of the thread
            if not self._failing:
                logger.warning("afterwork: %s", type(error).__name__)
            self._failing = True

    def do_all(self) -> None:
        """Do all that is due. What fails is done again later. Raises redis-py's errors."""
        while True:
            entries = self._afterwork.take_afterwork(AT_ONCE)
            for entry in entries:
                try:
                    do(self._backend(), entry)
                except Exception as error:  # noqa: BLE001  # an edge: others' messages and brokers
                    # It stays, and is done again.
                    name = type(error).__name__
                    logger.warning("job %s: what follows it is done later: %s", entry.task_id, name)
                else:
                    self._afterwork.end_afterwork(entry.task_id)
            if len(entries) < AT_ONCE:
                return


def do(backend: Any, entry: AfterworkEntry) -> None:
    """Do all that follows one job. Every part of it can be done again.

    Raises redis-py's and kombu's errors, ServiceError and chords.NotYetError: then do it again.
    """
    meta = backend.decode(entry.result)
    state = meta["status"]
    if entry.by_name:
        # A stock app with our prefix as its `global_keyprefix` listens here, without a database.
        backend.client.publish(backend.get_key_for_task(entry.task_id), entry.result)
        plain_app.store(entry.task_id, meta, entry.result)
    request = request_of(entry.message) if entry.message else None
    if request is None:
        return
    result = meta["result"]
    if state != states.SUCCESS:
        result = backend.exception_to_python(result)
    with repeated():
        if request.chord:
            chords.count_part(backend, request, state, result, by_name=entry.by_name)
        if state != states.SUCCESS:
            chords.fail_chain(backend, request, result, by_name=entry.by_name)
            chords.call_errbacks(backend, request, result)


def request_of(message: str) -> Any:
    """Celery's context of a job, from its message; None if nobody can read that."""
    try:
        read = plain_json.loads(message)
        args, kwargs, embed = plain_json.loads(plain_json.body_text(read))
        made = {**read["headers"], **embed, "args": args, "kwargs": kwargs}
        return Context({**made, "delivery_info": {"is_eager": False}})
    except Exception as error:  # noqa: BLE001  # an edge: no worker could read it either
        logger.error("what follows a job cannot be read: %s", type(error).__name__)
        return None
