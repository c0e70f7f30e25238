"""A caller whose message was not sent takes its record back, and no other caller's."""

from __future__ import annotations

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.tasks import admission
from local_llm_service.worker.celery_ext.transport import Channel
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store


def test_a_call_that_fails_leaves_the_job_of_another_under_its_id(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both had been admitted before either was put; the one that was put stays."""
    put, others = Channel._put, [True]

    def interrupted(channel: Channel, *args: object, **options: object) -> None:
        if others.pop():
            others.append(False)
            admission._consensus.clear()
            tasks.generate.apply_async(("x",), task_id="same")  # by another process
            raise redis.ConnectionError
        put(channel, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Channel, "_put", interrupted)
    with pytest.raises(BrokerUnreachable):
        tasks.generate.apply_async(("x",), task_id="same")
    assert process_store().jobs.state("same") is JobState.QUEUED
    assert redis_client.llen(process_store().keys.queue("llm.high")) == 1
