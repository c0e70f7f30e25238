"""The Celery application. Importing it changes nothing in a process that has an app of its own."""

from __future__ import annotations

from celery import Celery

app = Celery(
    "local-llm",
    set_as_current=False,
    # By name, not by import: the worker loads the tasks, this package does not depend on them.
    include=["tasks"],
    control="worker.delivery.cancel:Control",
    amqp="worker.delivery.amqp:AMQP",
    # The one built-in fixup is Django's; it would import Celery's whole worker into each producer.
    fixups=[],
)
# By name, so that the environment is read at the first call and not at import.
app.config_from_object("worker.celery_settings")
# By name too: only a worker process loads it.
app.steps["worker"].add("worker.delivery.steps:KeeperStep")
app.steps["worker"].add("worker.publisher:PresenceStep")
