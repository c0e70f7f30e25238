"""The callers' half of the result backend: waiting for results, and reading them.

Celery's own half waits by a consumer that all threads share; here worker/listening/ finds the
results, and each caller reads its own. A Redis that is away is BrokerUnreachable to a caller,
within seconds. Only a worker tries again without end, so that no answer is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import Any

import celery.exceptions
import redis
from celery import states
from celery.backends.redis import RedisBackend

from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.listening.thread_listener import process_listener
from local_llm_service.worker.listening.wait import NoResult, results
from local_llm_service.worker.store.connection import connect, reachable

#: A wait of at least so many seconds may begin with a read in the caller's own thread, which a
#: Redis that is silent holds for 4 s. It saves the listener's part where the result is there.
PATIENT_SECONDS = 5.0
#: Between two calls of `on_interval`.
LEAST_INTERVAL = 0.05


class ReadsResults(RedisBackend):
    """Reads results through this service's own connections."""

    @property
    def client(self) -> redis.Redis:
        """This service's client, whose timeouts suit a caller, instead of one of Celery's."""
        return connect(lazy_settings().redis_url, decoded=False)

    # --- one look at Redis: BrokerUnreachable when it is away ---------------------------------

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Read a result as Celery does. Raises BrokerUnreachable, which a worker waits out."""
        with _reachable():
            return dict(super().get_task_meta(task_id, cache=cache))

    def forget(self, task_id: str) -> None:
        """Delete a result. Raises BrokerUnreachable."""
        with _reachable():
            super().forget(task_id)

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether there is a result. Raises BrokerUnreachable."""
        with _reachable():
            return bool(self.get(self.get_key_for_task(task_id)))

    def save_group(self, group_id: str, result: Any) -> Any:
        """Store the ids of a group. Raises BrokerUnreachable."""
        with _reachable():
            return super().save_group(group_id, result)

    def get_group_meta(self, group_id: str, cache: bool = True) -> Any:
        """Read the ids of a group. Raises BrokerUnreachable."""
        with _reachable():
            return super().get_group_meta(group_id, cache=cache)

    def delete_group(self, group_id: str) -> Any:
        """Delete the ids of a group. Raises BrokerUnreachable."""
        with _reachable():
            return super().delete_group(group_id)

    def ensure(self, fun: Callable[..., Any], args: Any, **_: Any) -> Any:
        """Call without further tries: the client has one, and a worker's are without end."""
        return fun(*args)

    # --- waiting ------------------------------------------------------------------------------

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: who waits for the job listens then."""

    def add_pending_result(
        self, result: Any, weak: bool = False, start_drainer: bool = True
    ) -> Any:
        """Do nothing: who waits for the job listens then."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Do nothing: nothing was kept."""
        return result

    def wait_for_pending(
        self,
        result: Any,
        callback: Any = None,
        propagate: bool = True,
        timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Wait for one result, `timeout` seconds at most (None: forever), and return its value.

        Raises the job's own error, Celery's TimeoutError, or BrokerUnreachable as
        `listening.wait.results`.
        """
        self._ensure_not_eager()
        began = monotonic()
        if result._cache is None and (timeout is None or timeout >= PATIENT_SECONDS):
            self._look_first(result)
        if result._cache is None:
            for _ in self._resolve([result], began, timeout, **options):
                pass
        return result.maybe_throw(callback=callback, propagate=propagate)

    def iter_native(
        self, result: Any, no_ack: bool = True, timeout: float | None = None, **options: Any
    ) -> Iterator[tuple[str, Any]]:
        """Yield the members of a group with their results, as they come; inner groups come last.

        Raises as wait_for_pending.
        """
        self._ensure_not_eager()
        began = monotonic()
        inner = [node for node in result.results if not hasattr(node, "_cache")]
        own = [node for node in result.results if hasattr(node, "_cache")]
        missing = [node for node in own if not node._cache]
        for node in own:
            if node._cache:
                yield node.id, node._cache
        leaves = [leaf for group in inner for leaf in _leaves(group) if not leaf._cache]
        ids = {node.id for node in missing}
        for node in self._resolve([*missing, *leaves], began, timeout, **options):
            if node.id in ids:
                ids.discard(node.id)
                yield node.id, node._cache
        for group in inner:
            yield group.id, group.children

    def _look_first(self, result: Any) -> None:
        """Read a result that may be there, without the listener's thread."""
        with suppress(redis.RedisError):
            text = self.get(self.get_key_for_task(result.id))
            if text:
                result._maybe_set_cache(self.decode_result(text))

    def _resolve(
        self,
        nodes: Iterable[Any],
        began: float,
        timeout: float | None,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[Any], object] | None = None,
        **_: Any,
    ) -> Iterator[Any]:
        """Yield each handle with its result in it. Raises as wait_for_pending."""
        by_id: dict[str, list[Any]] = {}
        for node in nodes:
            by_id.setdefault(node.id, []).append(node)
        listener = process_listener()
        with listener.wait(by_id) as wait:
            pause = max(interval or 0, LEAST_INTERVAL)
            found = results(wait, listener, began, timeout, on_interval, pause)
            for task_id, text in _until_too_late(found):
                if task_id not in wait.missing:
                    continue
                meta = self.decode_result(text)
                if on_message is not None:
                    on_message(meta)
                if meta["status"] not in states.READY_STATES:
                    continue
                wait.done(task_id)
                for node in by_id[task_id]:
                    if node._cache is None:
                        node._maybe_set_cache(dict(meta))
                    yield node


def _until_too_late(found: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    try:
        yield from found
    except NoResult:
        raise celery.exceptions.TimeoutError("The operation timed out.") from None


def _leaves(group: Any) -> Iterator[Any]:
    """The single results of a group and of the groups in it."""
    for node in group.results:
        if hasattr(node, "_cache"):
            yield node
        else:
            yield from _leaves(node)


def _reachable() -> AbstractContextManager[Any]:
    return reachable(lazy_settings().redis_url)
