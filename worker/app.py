"""The Celery application. Importing it changes nothing in a process that has an app of its own."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any

from celery import Celery

from local_llm_service.worker.task_names import is_foreign


class OwnPoolApp(Celery):
    """Celery's app with connections of its own.

    kombu's pools have one limit for all apps of a process, which each app sets when it first sends:
    a smaller one than ours fails while one of our connections is in use.
    """

    _pool: Any

    @property
    def pool(self) -> Any:
        """The pool of connections; Celery puts it away after a fork."""
        if self._pool is None:
            self._ensure_after_fork()
            self._pool = self.connection_for_write().Pool(self.conf.broker_pool_limit)
        return self._pool


class ServiceApp(OwnPoolApp):
    """Celery's app, which sends only this service's tasks to this service's queues."""

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send a task by name; another app's goes to its own queue, in Celery's plain format."""
        if is_foreign(name, kwargs):
            return _plain_app().send(name, args, kwargs, options)
        if options.get("producer") is not None and not _plain_app().is_ours(options["producer"]):
            # Of a group that another app sends: its connection knows nothing of our queues.
            del options["producer"]
        return super().send_task(name, args, kwargs, **options)

    @cached_property
    def AsyncResult(self) -> Any:  # Celery's name
        """The class of Celery's handles, which here also says STARTED."""
        return self.subclass_with_self(
            "local_llm_service.worker.celery_ext.job_result:JobResult", reverse="AsyncResult"
        )


def _plain_app() -> Any:
    """By name, as below: that room depends on this module, and few producers need it."""
    return import_module("local_llm_service.worker.celery_ext.plain_app")


app = ServiceApp(
    "local-llm",
    set_as_current=False,
    # By name, not by import: the worker loads the tasks; this package does not depend on them.
    include=["local_llm_service.tasks"],
    task_cls="local_llm_service.worker.celery_ext.private_task:PrivateTask",
    control="local_llm_service.worker.celery_ext.control:Control",
    amqp="local_llm_service.worker.celery_ext.amqp:AMQP",
    # Django's, the only built-in fixup, would import Celery's whole worker into each producer.
    fixups=[],
)
# By name, so that the environment is read at the first call and not at import.
app.config_from_object("local_llm_service.celeryconfig")
# By name too: only a worker process loads it.
app.steps["worker"].add("local_llm_service.worker.celery_ext.entry:LeaseStep")
app.steps["worker"].add("local_llm_service.worker.celery_ext.entry:PresenceStep")
