"""The base of every task of this app, Celery's own too, which shows no argument and no answer.

`generate.map(...)`, `starmap` and `chunks` are tasks of Celery (`celery.map`, ...) that hold the
calls as arguments and return the answers.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from local_llm_service.worker.errors import ServiceError


def _refuse_limit(_: object, seconds: Any) -> None:
    if seconds is not None:
        raise ValueError("threads know no time limits: give a job deadline_seconds instead")


class PrivateTask(Task):
    """The task class of the app."""

    abstract = True

    Request = "local_llm_service.worker.celery_ext.request:PrivateRequest"
    throws = (ServiceError,)  # logged as one line, without a traceback
    resultrepr_maxsize = 0  # no answer in the log, in events, in Flower
    #: Flower's form for them would otherwise say that they are set, and nothing would happen.
    time_limit = soft_time_limit = property(lambda _: None, _refuse_limit)
