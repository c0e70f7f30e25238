"""A worker that cannot start says why in one line, without a traceback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import redis

from tests.integration.conftest import run_python


@pytest.fixture
def taken_port() -> Iterator[str]:
    """A port of 127.0.0.1 on which somebody listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield str(other.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([], {"OLLAMA_HOST": "foo:bar:baz"}, "setting OLLAMA_HOST: must be a host"),
        ([], {"REDIS_URL": "foo"}, "setting REDIS_URL: must be a URL"),
        (
            [],
            {"ENGINES_FILE": "/nowhere/engines.toml"},
            "ENGINES_FILE /nowhere/engines.toml: the file: cannot be read: No such file",
        ),
        (["-Q", "mine"], {}, "Queues here: llm.high,llm.normal,llm.low."),
        (["--nonsense"], {}, "No such option '--nonsense'"),
    ],
)
def test_a_wrong_start_is_one_line(
    redis_client: redis.Redis, words: list[str], environment: dict[str, str], said: str
) -> None:
    """The exit code is that of a wrong setting."""
    environment = {"OLLAMA_HOST": "127.0.0.1:1", **environment}
    done = run_python("-m", "local_llm_service.worker", *words, **environment)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "CONCURRENCY" not in done.stderr.splitlines()[-1]


def test_a_taken_metrics_port_is_named(redis_client: redis.Redis, taken_port: str) -> None:
    """Two workers of one host need two ports."""
    environment = {"OLLAMA_HOST": "127.0.0.1:1", "METRICS_PORT": taken_port}
    done = run_python("-m", "local_llm_service.worker", **environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"METRICS_PORT {taken_port}: Address already")
    assert "Traceback" not in done.stderr
