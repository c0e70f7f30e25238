"""Every Redis name is ours alone, so that a backend's own Celery app can share the server."""

import pytest

from worker import names

KEYS = [
    names.UNACKED,
    names.UNACKED_INDEX,
    names.UNACKED_MUTEX,
    names.BINDING,
    names.BINDING_DEADLINES,
    names.BINDING_PERMANENT,
    names.job("5"),
    names.worker("llm-1@host"),
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_begins_with_our_prefix(key: str) -> None:
    """One `SCAN llm:*` finds everything but the queues."""
    assert key.startswith("llm:")


@pytest.mark.parametrize("name", [*names.QUEUES, names.CONTROL_EXCHANGE, names.EVENT_EXCHANGE])
def test_queues_and_exchanges_begin_with_our_name(name: str) -> None:
    """kombu's and Celery's own defaults (`celery`, `celeryev`, ...) belong to other apps."""
    assert name.startswith("llm.")


def test_a_priority_word_names_its_queue() -> None:
    """Words and queues go in pairs, most urgent first."""
    assert tuple(names.queue_of(word) for word in names.PRIORITIES) == names.QUEUES
    assert names.QUEUES == ("llm.high", "llm.normal", "llm.low")


def test_a_job_and_a_worker_of_one_name_do_not_meet() -> None:
    """The kind of thing is part of its key."""
    assert names.job("x") != names.worker("x")


def test_a_worker_outlives_some_missed_beats() -> None:
    """One late beat must not make a worker vanish; a dead one is gone within seconds."""
    assert 2 * names.PRESENCE_INTERVAL_SECONDS < names.PRESENCE_TTL_SECONDS <= 15


def test_celery_is_told_our_names() -> None:
    """The constants are of no use unless Celery's settings and the transport hold them."""
    from worker.app import app
    from worker.delivery.transport import Transport

    options = app.conf.broker_transport_options
    assert options["unacked_key"] == names.UNACKED
    assert options["unacked_index_key"] == names.UNACKED_INDEX
    assert options["unacked_mutex_key"] == names.UNACKED_MUTEX
    assert options["fanout_prefix"] == names.FANOUT
    assert Transport.Channel.keyprefix_queue == names.BINDING
    assert app.conf.control_exchange == names.CONTROL_EXCHANGE
    assert app.conf.event_exchange == names.EVENT_EXCHANGE
    assert [queue.name for queue in app.conf.task_queues] == list(names.QUEUES)
