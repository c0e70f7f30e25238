"""fakeredis behind a pair of sockets does to jobs what Redis does, by the same scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from local_llm_service.testing.fake_redis import FakeRedis
from local_llm_service.worker.store import connection
from local_llm_service.worker.store.keys import DEFAULT_PREFIX
from tests.conftest import wait_until
from tests.doubles.every_script import Site, play_all
from tests.schedules.mutants import MUTANTS
from tests.schedules.stage import stage

#: Each of these takes a rule of delivery, of single flight or of the cache through its scripts.
FEW = 8


@pytest.fixture
def fake() -> Iterator[FakeRedis]:
    """An empty one, to which all connections of this process go."""
    server = FakeRedis()
    with connection.dialling(server.dial):
        yield server
    server.close()


@pytest.fixture
def client(fake: FakeRedis) -> redis.Redis:
    """redis-py, as the service makes its clients."""
    return connection.connect("redis://stand-in.invalid/0")


def test_every_script_does_there_what_it_is_for(client: redis.Redis) -> None:
    """The same stories are told on a cluster of real servers."""
    play_all(Site(client, DEFAULT_PREFIX))


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if not one.rare][::FEW], ids=lambda one: one.name
)
def test_a_schedule_ends_there_as_on_a_real_server(client: redis.Redis, mutant: object) -> None:
    """It finds the fault of a changed script, and none in the shipped one."""
    schedule, texts = mutant.schedule, mutant.texts()  # type: ignore[attr-defined]
    with stage(client) as there:
        assert there.fault(schedule) == ""
    with stage(client, texts) as there:
        assert there.fault(schedule)


def test_replies_are_those_of_redis(client: redis.Redis) -> None:
    """Every type that RESP2 has, nested and empty, and an error by its word."""
    assert client.ping() is True
    assert client.get("nothing") is None
    assert client.rpush("list", "a", "") == 2
    assert client.lrange("list", 0, -1) == ["a", ""]
    client.zadd("scores", {"one": 1.5})
    assert client.zrange("scores", 0, -1, withscores=True) == [("one", 1.5)]
    assert client.eval("return {1, {'two', false}, {}}", 0) == [1, ["two", None], []]
    assert client.execute_command("SET", "text", "\r\n€") is True
    assert client.get("text") == "\r\n€"
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.incr("list")
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("0" * 40, 0)


def test_time_goes_on_where_a_test_has_stopped_the_clock(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or no retry of a job would ever be due."""
    stopped = time.time()
    monkeypatch.setattr(time, "time", lambda: stopped)
    first = client.time()
    assert abs(first[0] - stopped) < 60
    wait_until(lambda: client.time() > first, "time goes on")


def test_many_commands_in_one_go_are_all_answered(client: redis.Redis) -> None:
    """A pipeline of more than one reading of the socket, with a large value in it."""
    with client.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.set(f"key {number}", "x" * 100)
        pipe.set("large", "y" * 1_000_000)
        pipe.strlen("large")
        assert pipe.execute() == [True] * 501 + [1_000_000]


def test_a_published_message_comes_to_who_listens(client: redis.Redis) -> None:
    """From another connection; and what is published before nobody hears."""
    client.publish("news", "early")
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("news")
        wait_until(lambda: client.pubsub_numsub("news")[0][1] == 1, "it listens")
        client.publish("news", "late")
        heard = wait_until(lambda: listener.get_message(timeout=1), "the message")
        assert heard["data"] == "late"


def test_a_client_that_waits_in_redis_is_woken(client: redis.Redis) -> None:
    """BRPOP returns when another connection pushes, and None after its time."""
    assert client.brpop(["bell"], timeout=0.01) is None
    rung: list[object] = []
    waiting = threading.Thread(target=lambda: rung.append(client.brpop(["bell"], timeout=5)))
    waiting.start()
    client.lpush("bell", "ring")
    waiting.join(timeout=5)
    assert rung == [("bell", "ring")]


def is_blocked(server: FakeRedis) -> bool:
    """Whether a client waits in a command."""
    return any(session._blocked for session in server._server.sockets)


def test_its_end_breaks_all_connections_and_ends_their_threads() -> None:
    """Also of one that waits."""
    before = set(threading.enumerate())
    server = FakeRedis()
    with connection.dialling(server.dial):
        client = connection.connect("redis://stand-in.invalid/0", tries=1)
        client.ping()
        failed: list[Exception] = []

        def wait() -> None:
            try:
                client.brpop(["bell"], timeout=30)
            except redis.RedisError as error:
                failed.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: is_blocked(server), "it waits in Redis")
        server.close()
        waiting.join(timeout=5)
    assert isinstance(failed[0], redis.ConnectionError)
    wait_until(lambda: set(threading.enumerate()) <= before, "its threads have ended")
