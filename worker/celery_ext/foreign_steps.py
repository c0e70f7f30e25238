"""Prepares a canvas that also has tasks of another Celery app, in the caller's process.

Only there do signatures still know their app, and so its routes. A worker of ours sees names and
options: the queue has to be among them. And both apps' workers have to count the parts of a chord
in one place, so each part says where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from celery import _state
from celery.exceptions import QueueNotFound

from local_llm_service.worker.app import app as our_app
from local_llm_service.worker.celery_ext.default_queue import DESTINATION
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.task_names import is_foreign

#: Where the parts of a chord are counted, in the signature of its body: here or in the result
#: backend of another app.
COUNTED = "llm_counted"
HERE, ELSEWHERE = "here", "elsewhere"

#: Options and arguments of a signature that hold further ones.
_CALLED = ("link", "link_error", "chain", "chord")
_MEMBERS = ("tasks", "header", "body", "task")


def resolve(options: MutableMapping[str, Any], *, by_other_app: bool) -> None:
    """Give each step, callback and body of another app the queue that its app's routes name.

    `by_other_app`: another app sends the group that this call belongs to, and its result backend
    has the size of the chord. Raises InvalidRequest for a queue that the other app does not have.
    """
    for step in _called_by(options):
        _resolve(step, None)
    if by_other_app:
        steps = (step for step in _all(options.get("chain")) if isinstance(step, dict))
        for holder in (options, *(step.get("options") for step in steps)):
            chord = holder.get("chord") if isinstance(holder, MutableMapping) else None
            if isinstance(chord, dict):
                chord.setdefault(COUNTED, ELSEWHERE)


def has_foreign_part(results: Any) -> bool:
    """Tell from the handles of a chord's parts whether another app's worker runs one of them."""
    for result in results if isinstance(results, list) else ():
        inner = getattr(result, "results", None)
        if has_foreign_part(list(inner)) if inner is not None else not _is_of_ours(result):
            return True
    return False


def _is_of_ours(result: Any) -> bool:
    """A handle from one of our tasks bears its name, and one from a bare name bears none."""
    name = getattr(result, "task_name", None)
    return result.app is our_app and name is not None and not is_foreign(name)


def _resolve(step: Any, app: Any) -> None:
    if not isinstance(step, dict) or not isinstance(step.get("task"), str):
        return
    app = _app_of(step) or app
    options, kwargs = step.setdefault("options", {}), step.get("kwargs") or {}
    if not isinstance(options, dict) or not isinstance(kwargs, dict):
        return
    inner = [kwargs.get(word) for word in _MEMBERS] if step["task"].startswith("celery.") else []
    for one in (*(one for group in inner for one in _all(group)), *_called_by(options)):
        _resolve(one, app)
    if is_foreign(step["task"], kwargs):
        _route(step, options, app or _current_app())


def _route(step: Any, options: dict[str, Any], app: Any) -> None:
    if any(options.get(word) is not None for word in DESTINATION):
        _name_destination(options, options)
        return
    if app is None or app is our_app:
        return  # a worker sends it to Celery's default queue
    task = getattr(step, "_type", None) or app.tasks.get(step["task"])
    own = {key: value for key, value in _exec_options(task).items() if value is not None}
    given = {key: value for key, value in options.items() if key not in _CALLED}
    try:
        route = app.amqp.router.route(
            {**own, **given}, step["task"], step.get("args"), step.get("kwargs"), task
        )
    except QueueNotFound:
        raise InvalidRequest(
            f"canvas: the app of {step['task']} has no such queue",
            "Add it to that app's task_queues, or correct the queue of the step.",
        ) from None
    _name_destination(options, route)


def _name_destination(options: dict[str, Any], route: Any) -> None:
    """Write the destination as text, which is all that survives a message."""
    for word in DESTINATION:
        found = route.get(word)
        if found is not None:
            options[word] = str(getattr(found, "name", found))
    exchange = route.get("exchange")
    if getattr(exchange, "type", None):
        options["exchange_type"] = exchange.type
    elif route.get("exchange_type"):
        options["exchange_type"] = route["exchange_type"]
    if isinstance(route.get("priority"), int):
        options["priority"] = route["priority"]


def _exec_options(task: Any) -> dict[str, Any]:
    find = getattr(task, "_get_exec_options", None)
    found = find() if find is not None else None
    return found if isinstance(found, dict) else {}


def _app_of(step: Any) -> Any:
    """The app of a signature's task, or its own; None for a plain dict."""
    task = getattr(step, "_type", None)
    return getattr(task, "app", None) or getattr(step, "_app", None)


def _current_app() -> Any:
    """The app that Celery uses by default, if the process has one; asking Celery would make one."""
    return getattr(_state._tls, "current_app", None) or _state.default_app


def _called_by(options: MutableMapping[str, Any]) -> Iterator[Any]:
    for word in _CALLED:
        yield from _all(options.get(word))


def _all(value: Any) -> Iterable[Any]:
    """The signatures in an option; what is none is left to tasks/options.py, which names it."""
    if isinstance(value, dict):
        return (value,)
    return value if isinstance(value, Iterable) and not isinstance(value, str) else ()
