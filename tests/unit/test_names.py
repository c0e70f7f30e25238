"""Every Redis name is ours alone, so that a backend's own Celery app can share the server."""

import pytest

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys

KEYS = Keys()

KEYS = [
    KEYS.unacked,
    KEYS.unacked_index,
    KEYS.unacked_mutex,
    KEYS.binding,
    KEYS.binding_deadlines,
    KEYS.binding_permanent,
    KEYS.job("5"),
    KEYS.worker("llm-1@host"),
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_begins_with_our_prefix(key: str) -> None:
    """One `SCAN llm:*` finds everything but the queues."""
    assert key.startswith("llm:")


@pytest.mark.parametrize("name", [*keys.QUEUES, keys.CONTROL_EXCHANGE, keys.EVENT_EXCHANGE])
def test_queues_and_exchanges_begin_with_our_name(name: str) -> None:
    """kombu's and Celery's own defaults (`celery`, `celeryev`, ...) belong to other apps."""
    assert name.startswith("llm.")


def test_a_priority_word_names_its_queue() -> None:
    """Words and queues go in pairs, most urgent first."""
    assert tuple(keys.queue_of(word) for word in keys.PRIORITIES) == keys.QUEUES
    assert keys.QUEUES == ("llm.high", "llm.normal", "llm.low")


def test_a_job_and_a_worker_of_one_name_do_not_meet() -> None:
    """The kind of thing is part of its key."""
    assert KEYS.job("x") != KEYS.worker("x")


def test_a_worker_outlives_some_missed_beats() -> None:
    """One late beat must not make a worker vanish; a dead one is gone within seconds."""
    assert 2 * keys.PRESENCE_INTERVAL_SECONDS < keys.PRESENCE_TTL_SECONDS <= 15


def test_celery_is_told_our_names() -> None:
    """The constants are of no use unless Celery's settings and the transport hold them."""
    from local_llm_service.worker.app import app
    from local_llm_service.worker.celery_ext.transport import Transport

    options = app.conf.broker_transport_options
    assert options["unacked_key"] == KEYS.unacked
    assert options["unacked_index_key"] == KEYS.unacked_index
    assert options["unacked_mutex_key"] == KEYS.unacked_mutex
    assert options["fanout_prefix"] == KEYS.fanout
    assert Transport.Channel.keyprefix_queue == KEYS.binding
    assert app.conf.control_exchange == keys.CONTROL_EXCHANGE
    assert app.conf.event_exchange == keys.EVENT_EXCHANGE
    assert [queue.name for queue in app.conf.task_queues] == list(keys.QUEUES)
