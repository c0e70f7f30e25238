"""Celery's threads pool, in which an error at the end of a job does not lose the slot forever.

The stock pool never looks at a slot's future: when a result could not be stored, Celery counted the
job as running forever. Here, too, each job gets a copy of the context variables, so that the next
job sees none of them, and terminating a job does not raise.
"""

from __future__ import annotations

import contextvars
import logging
import sys
from concurrent.futures import Future
from functools import partial
from threading import get_ident
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as ThreadsPool

logger = logging.getLogger(__name__)


class TaskPool(ThreadsPool):
    """The pool that `worker_pool` names."""

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: Any = None,
        **_: Any,
    ) -> ApplyResult:
        """Run in a free thread; an uncaught error goes to Celery's error callback."""
        run = partial(
            apply_target, target, args or (), kwargs or {}, callback, accept_callback,
            getpid=get_ident,
        )  # fmt: skip
        future = self.executor.submit(contextvars.copy_context().run, run)
        future.add_done_callback(partial(_report, error_callback))
        return ApplyResult(future)

    def replace_slot(self) -> None:
        """Allow one thread more, for one that never ends. The transport bounds how many work."""
        self.executor._max_workers += 1

    def grow(self, n: int = 1) -> None:
        """Run `n` more jobs at once. Ollama runs OLLAMA_NUM_PARALLEL; the rest wait in it."""
        self._resize(n)

    def shrink(self, n: int = 1) -> None:
        """Run `n` jobs less at once, at least one. What runs goes on."""
        self._resize(-n)

    def _resize(self, change: int) -> None:
        if self.limit + change < 1:
            raise ValueError("a worker has one slot at least; shut it down instead")
        self.limit += change
        # It starts threads up to this number; those that it has stay, and are idle: the transport
        # takes no more messages than there are slots.
        self.executor._max_workers = max(self.executor._max_workers, self.limit)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: the lease heartbeat stops a cancelled job (lease/heartbeat.py)."""


def _report(error_callback: Any, future: Future[Any]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is None or error_callback is None:
        return
    logger.error("a slot ended with %s", type(error).__name__)
    try:
        raise error
    except BaseException:  # noqa: BLE001  # the edge of the thread: Celery wants exc_info
        error_callback(ExceptionInfo(sys.exc_info()))
