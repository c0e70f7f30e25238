"""A Redis that drops keys when its memory runs out is refused, by workers and by producers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.integration.conftest import run_python

POLICY = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
SEND = """
from local_llm_service import tasks
from local_llm_service.worker import errors
try:
    tasks.generate.delay("hi")
    print("sent")
except errors.ServiceError as error:
    print(error.code, error.message, error.hint)
"""


@pytest.fixture
def evicting() -> Iterator[RedisProcess]:
    """A Redis as caches are set up."""
    with RedisProcess(extra=POLICY) as server:
        yield server


def test_a_producer_is_told_before_its_job_is_accepted(evicting: RedisProcess) -> None:
    """With the remedy; ALLOW_EVICTION=1 insists."""
    done = run_python("-c", SEND, REDIS_URL=evicting.url)
    assert done.stdout.startswith("broker_unsafe Redis drops keys"), done.stderr
    assert "allkeys-lru" in done.stdout
    assert "ALLOW_EVICTION=1" in done.stdout
    insists = run_python("-c", SEND, REDIS_URL=evicting.url, ALLOW_EVICTION="1")
    assert insists.stdout.split() == ["sent"]


def test_a_worker_does_not_start(evicting: RedisProcess) -> None:
    """One line with the remedy, no traceback."""
    done = run_python("-m", "worker", REDIS_URL=evicting.url)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Redis drops keys when memory runs out")
    assert "ALLOW_EVICTION=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_ends_with_its_code(evicting: RedisProcess) -> None:
    """As for a Redis that cannot be used."""
    done = run_python("-m", "producers", "generate", "hi", "--no-wait", REDIS_URL=evicting.url)
    assert done.returncode == 3
    assert done.stderr.startswith("broker_unsafe: ")


MANY = """
from unittest import mock
import redis
from local_llm_service import tasks
from local_llm_service.worker.store.store import process_store
asked = []
execute = redis.Redis.execute_command
def counted(self, *words, **options):
    if words[0] == "INFO":
        asked.append(1)
    return execute(self, *words, **options)
with mock.patch.object(redis.Redis, "execute_command", counted):
    for number in range(5):
        tasks.generate.delay(f"{number}")
    print(len(asked))
    client = redis.Redis.from_url(URL)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.client_kill_filter(_type="normal", skipme=True)
    for number in range(2):
        try:
            tasks.generate.delay(f"again {number}")
        except Exception as error:
            print(type(error).__name__)
"""


def test_the_check_costs_nothing_per_call(redis_process: RedisProcess, run_python: Any) -> None:
    """It is made once, and again on a new connection: there may be another server by then."""
    with RedisProcess() as server:
        done = run_python("-c", MANY.replace("URL", repr(server.url)), REDIS_URL=server.url)
    assert done.stdout.split()[0] == "1", done.stderr
    assert done.stdout.split()[-1] == "BrokerUnsafe", done.stderr


def test_a_redis_that_may_not_be_asked_is_taken(redis_process: RedisProcess) -> None:
    """A login without INFO cannot find out; its operator has to."""
    with RedisProcess(extra=POLICY) as server, redis.Redis.from_url(server.url) as client:
        client.execute_command(
            *("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info")
        )
        url = server.url.replace("redis://", "redis://app:pw@")
        assert run_python("-c", SEND, REDIS_URL=url).stdout.split() == ["sent"]
