"""The next step of a chain: a worker sends it, and no caller is there to send it again."""

from __future__ import annotations

from typing import Any

import celery
import pytest
import redis
from kombu.exceptions import OperationalError

from local_llm_service import tasks
from local_llm_service.tasks.submit import submit
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import process_store


class Send:
    """Celery's own `apply_async`, which fails `failures` times first."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise OperationalError("Redis is away")
        return celery.Task.apply_async(tasks.generate, *args, **options)


def test_a_step_that_cannot_be_sent_at_first_is_not_lost(redis_client: redis.Redis) -> None:
    """Its record stays until the message is there: a message without a record is dropped."""
    send = Send(failures=1)
    submit(tasks.generate, send, ("hi",), None, "next", {"parent_id": "first"})
    assert send.calls == 2
    jobs = process_store().jobs
    delivery = jobs.take(keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1")
    assert delivery is not None
    assert delivery.task_id == "next"


def test_a_callers_job_that_cannot_be_sent_leaves_nothing(redis_client: redis.Redis) -> None:
    """The caller knows, and may send it again under the same id."""
    with pytest.raises(BrokerUnreachable):
        submit(tasks.generate, Send(failures=1), ("hi",), None, "mine", {})
    assert process_store().jobs.record("mine") is None
