"""The Celery application. Importing it changes nothing in a process that has an app of its own."""

from __future__ import annotations

from celery import Celery

app = Celery(
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
