"""Our connections and another app's do not share a pool, nor the limit of one."""

from __future__ import annotations

from celery import Celery
from kombu import pools

from local_llm_service.worker.app import app


def test_another_app_can_send_first_while_a_connection_of_ours_is_in_use() -> None:
    """kombu's limit is one for all apps that use its pools; theirs is smaller than ours."""
    app._pool = None
    app.amqp._producer_pool = None
    limit = pools.get_limit()
    with app.pool.acquire(block=True), app.producer_pool.acquire(block=True):
        assert pools.get_limit() == limit, "sending changes nothing for other apps"
        other = Celery("other", broker="memory://", set_as_current=False, fixups=[])
        assert other.pool.limit == other.conf.broker_pool_limit
        assert other.producer_pool.limit == other.conf.broker_pool_limit
    assert app.pool.limit == app.conf.broker_pool_limit
