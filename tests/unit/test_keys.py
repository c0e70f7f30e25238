"""Every Redis name is ours alone, so that a backend's own Celery app can share the server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import bounds, keys
from local_llm_service.worker.store.bounds import NUMBERS
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.keys import DEFAULT_PREFIX, Keys, relative
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store

KEYS = Keys()
OTHER = Keys("staging:{llm}:")
NAMES = sorted(set(KEYS.constants()) - set(NUMBERS))


@pytest.mark.parametrize("name", NAMES)
def test_every_key_begins_with_the_prefix(name: str) -> None:
    """One `SCAN {llm}:*` finds everything; a second service on the Redis has names of its own."""
    assert str(KEYS.constants()[name]).startswith(DEFAULT_PREFIX)
    assert getattr(OTHER, name.lower()) == OTHER.constants()[name]
    assert str(OTHER.constants()[name]).startswith("staging:{llm}:")


def test_no_name_is_used_twice() -> None:
    """But for the queues' lists, which are the prefix and the public name."""
    assert len({KEYS.constants()[name] for name in NAMES}) == len(NAMES)
    assert KEYS.queue_list == DEFAULT_PREFIX


def test_scripts_know_names_in_capitals_and_numbers() -> None:
    """The attribute `job_record` is JOB_RECORD in a script."""
    constants = KEYS.constants()
    assert constants["JOB_RECORD"] == KEYS.job_record == "{llm}:job:"
    assert constants["DEAD_LETTERS_MS"] == bounds.DEAD_LETTERS_SECONDS * 1000
    assert {name: constants[name] for name in NUMBERS} == NUMBERS
    assert all(name == name.upper() for name in constants)


def test_keys_of_one_thing_are_made_from_their_beginning() -> None:
    """Jobs, results, queues, quarantines and workers."""
    assert KEYS.job("5") == "{llm}:job:5"
    assert KEYS.result("5") == "{llm}:celery-task-meta-5"
    assert KEYS.queue("llm.high") == "{llm}:llm.high"
    assert KEYS.quarantine_of("llm.high") == "{llm}:quarantine:llm.high"
    assert KEYS.worker("llm-1@host") == "{llm}:worker:llm-1@host"


def test_a_job_and_a_worker_of_one_name_do_not_meet() -> None:
    """The kind of thing is part of its key."""
    assert KEYS.job("x") != KEYS.worker("x")


def test_kombu_is_given_names_without_the_prefix() -> None:
    """It puts `global_keyprefix` before them itself."""
    assert relative(Keys.unacked) == "unacked"
    with pytest.raises(TypeError, match="class Keys"):
        relative(KEYS.unacked)


@pytest.mark.parametrize("name", [*keys.QUEUES, keys.CONTROL_EXCHANGE, keys.EVENT_EXCHANGE])
def test_queues_and_exchanges_begin_with_our_name(name: str) -> None:
    """kombu's and Celery's own defaults (`celery`, `celeryev`, ...) belong to other apps."""
    assert name.startswith("llm.")


def test_a_priority_word_names_its_queue() -> None:
    """Words and queues go in pairs, most urgent first."""
    assert tuple(keys.queue_of(word) for word in keys.PRIORITIES) == keys.QUEUES
    assert keys.QUEUES == ("llm.high", "llm.normal", "llm.low")


def test_a_worker_outlives_some_missed_beats() -> None:
    """One late beat must not make a worker vanish; a dead one is gone within seconds."""
    assert 2 * bounds.PRESENCE_INTERVAL_SECONDS < bounds.PRESENCE_TTL_SECONDS <= 15


@pytest.mark.parametrize("prefix", ["{llm}:", "staging:{llm}:", "{a-b.c}x:"])
def test_a_prefix_with_a_hash_tag_is_taken(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEY_PREFIX reaches every key and every script of the store."""
    monkeypatch.setenv("KEY_PREFIX", prefix)
    store = Store.of(Settings())
    assert store.keys.prefix == prefix
    assert store.scripts.keys.job("5") == f"{prefix}job:5"


@pytest.mark.parametrize("prefix", ["llm:", "{}:", "{llm}", "{llm} x:", "{a}{b}:", "}llm{:"])
def test_a_prefix_that_a_cluster_would_spread_is_refused(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It also ends in a colon, after which Celery adds nothing of its own."""
    monkeypatch.setenv("KEY_PREFIX", prefix)
    with pytest.raises(ValidationError, match="key_prefix"):
        Settings()


def test_the_default_prefix_is_that_of_the_settings() -> None:
    """A store that is made without settings is on the same keys."""
    store = Store(connect("redis://127.0.0.1:1/0"), Lifetimes(60, 60, 60))
    assert store.keys.prefix == Settings().key_prefix == DEFAULT_PREFIX


def test_celery_is_told_our_names() -> None:
    """The constants are of no use unless Celery's settings and the transport hold them."""
    from local_llm_service.worker.app import app
    from local_llm_service.worker.celery_ext.transport import Transport

    options: dict[str, Any] = app.conf.broker_transport_options
    prefix = options["global_keyprefix"]
    assert prefix == DEFAULT_PREFIX
    assert app.conf.result_backend_transport_options["global_keyprefix"] == DEFAULT_PREFIX
    assert prefix + options["unacked_key"] == KEYS.unacked
    assert prefix + options["unacked_index_key"] == KEYS.unacked_index
    assert prefix + options["unacked_mutex_key"] == KEYS.unacked_mutex
    assert options["fanout_prefix"] == keys.FANOUT
    channel = Transport.Channel
    assert channel.keyprefix_queue == keys.BINDING
    assert channel.keyprefix_binding_deadlines == keys.BINDING_DEADLINES
    assert channel.keyprefix_binding_permanent == keys.BINDING_PERMANENT
    assert app.conf.control_exchange == keys.CONTROL_EXCHANGE
    assert app.conf.event_exchange == keys.EVENT_EXCHANGE
    assert [queue.name for queue in app.conf.task_queues] == list(keys.QUEUES)
    assert app.backend.get_key_for_task("5") in (KEYS.result("5"), KEYS.result("5").encode())
