"""The pytest plugin in other people's test runs: each of these is a process of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest_plugins = ["pytester"]

#: What a developer's shell may say; nobody listens there (RFC 5737), and a wrong setting is one.
SHELL = {
    "REDIS_URL": "redis://192.0.2.1:6379/0",
    "OLLAMA_HOST": "http://192.0.2.1:11434",
    "MODEL_NAME": "developers:70b",
    "CONCURRENCY": "many",
    "ENABLE_CACHE": "perhaps",
}

#: Fails whatever would leave the process; pairs of sockets are made otherwise.
NO_NETWORK = """
import socket
import pytest

@pytest.fixture(autouse=True, scope="session")
def no_network():
    def refuse(*_, **__):
        pytest.fail("this test reaches for the network")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "bind", "listen"):
            patch.setattr(socket.socket, name, refuse)
        for name in ("create_connection", "getaddrinfo", "gethostbyname"):
            patch.setattr(socket, name, refuse)
        yield
"""


class Backend:
    """A project with the plugin in a folder of its own."""

    def __init__(self, pytester: pytest.Pytester, patch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        for name, value in SHELL.items():
            patch.setenv(name, value)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        path = [str(ROOT / "src"), str(pytester.path), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))

    def files(self, **texts: str) -> None:
        """Write Python files."""
        self._pytester.makepyfile(**texts)

    def copy(self, folder: Path) -> None:
        """Copy the Python files of a folder."""
        for file in folder.glob("*.py"):
            shutil.copy(file, self._pytester.path)

    def ini(self, text: str) -> None:
        """Write pytest.ini."""
        self._pytester.makeini(f"[pytest]\n{text}")

    def pytest(self, *options: str) -> pytest.RunResult:
        """Run pytest in it, with every warning an error."""
        plugin = ("-p", "local_llm_service.testing.plugin")
        return self._pytester.runpytest_subprocess(
            *plugin, "-p", "no:cacheprovider", "-W", "error", "--strict-markers", *options
        )


@pytest.fixture
def backend(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """An empty one, on a machine whose shell names a Redis."""
    return Backend(pytester, monkeypatch)


IN_A_LOOP = """
import pytest
from local_llm_service import AsyncClient

client = AsyncClient()

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("time", range(2))
async def test_in_an_event_loop_of_its_own(local_llm, time):
    job = await client.generate("Hello")
    assert (await job.result(timeout_seconds=10)).text == "Echo: Hello."
"""


def test_the_example_passes_without_a_network(backend: Backend) -> None:
    """examples/backend is what docs/testing.md shows; pytest-xdist gives each process its own."""
    backend.copy(ROOT / "examples" / "backend")
    backend.files(conftest=NO_NETWORK, test_loop=IN_A_LOOP)
    tests = (ROOT / "examples" / "backend" / "test_digests.py").read_text().count("\ndef test_")
    backend.pytest("-q", "-n", "2").assert_outcomes(passed=tests + 2)


def test_a_run_without_the_fixture_imports_nothing_of_ours(backend: Backend) -> None:
    """The plugin is loaded in every run on a machine that has the package."""
    backend.files(
        test_it="""
        import sys

        def test_what_is_there():
            ours = {name for name in sys.modules if name.startswith("local_llm_service")}
            plugin = "local_llm_service.testing.plugin"
            assert ours <= {"local_llm_service", "local_llm_service.testing", plugin}
            assert plugin in ours
            assert not {"celery", "kombu", "redis", "fakeredis", "pydantic"} & sys.modules.keys()
        """
    )
    backend.pytest("-q", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


FORGETFUL = """
import pytest
from local_llm_service import generate
from local_llm_service.worker.errors import BrokerUnreachable

def test_that_forgot_the_fixture():
    with pytest.raises(RuntimeError, match="does not use the fixture local_llm"):
        generate.delay("Hello")

def test_with_it(local_llm):
    assert generate.delay("Hello").get(timeout=10)["text"] == "Echo: Hello."

def test_that_forgot_it_afterwards():
    with pytest.raises(RuntimeError, match="does not use the fixture local_llm"):
        generate.delay("Hello")

@pytest.mark.local_llm(redis="real")
def test_that_means_it():
    with pytest.raises(BrokerUnreachable, match=r"127\\.0\\.0\\.1:1:"):
        generate.delay("Hello")
"""

RESTORED = """
import gc, os, sys, threading
import pytest
from local_llm_service import Client, generate
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.transport import Channel
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.store import process_store
pytestmark = pytest.mark.local_llm(settings={"key_prefix": "{other}:"})

real = pytest.mark.local_llm(redis="real")

def state():
    settings = sys.modules["local_llm_service.celeryconfig"]
    return (
        app.conf.broker_url, lazy_settings().redis_url, process_store().keys.prefix,
        app.backend.task_keyprefix, settings.broker_url,
    )

before = []

@real
def test_before():
    app.conf.broker_url
    before.extend(state())
    assert before[0] == os.environ["REDIS_URL"]

@pytest.mark.parametrize("time", range(12))
def test_meanwhile(local_llm, time):
    assert generate.delay("Hello").get(timeout=10)["origin"] == "computed"
    assert [one.type for one in Client().generate("Read", stream=True).stream()][-1] == "end"
    now = state()
    assert "invalid" in now[0] and "invalid" in now[1] and "invalid" in now[4]
    assert now[2] == "{other}:"

@real
def test_after():
    assert list(state()) == before
    left = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    assert left == []
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < 30
    assert len([one for one in gc.get_objects() if type(one) is Channel]) < 3
"""


def test_other_tests_find_the_process_as_it_was(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its app and settings, and no thread or file of a dozen tests; and a test that forgot the
    fixture never reaches the Redis of the shell, before and after tests with it."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("CONCURRENCY")
    monkeypatch.delenv("ENABLE_CACHE")
    backend.files(test_forgetful=FORGETFUL, test_restored=RESTORED)
    backend.pytest("-q").assert_outcomes(passed=4 + 14)


WRONG = """
import pytest
from local_llm_service import generate
from local_llm_service.worker.errors import InternalError

mark = pytest.mark.local_llm

@pytest.mark.parametrize(
    "time",
    [
        pytest.param(0, marks=mark("embedded")),
        pytest.param(1, marks=mark(redis="valkey")),
        pytest.param(2, marks=mark(slot=2)),
        pytest.param(3, marks=mark(settings={"max_queue_lenght": 1})),
        pytest.param(4, marks=mark(settings={"max_queue_length": -1})),
        pytest.param(5, marks=mark(models=[])),
    ],
)
def test_wrong(local_llm, time):
    pass

def test_right(local_llm):
    assert generate.delay("Hello").get(timeout=10)["text"] == "Echo: Hello."

def test_a_wrong_function(local_llm):
    local_llm.reply(lambda messages: messages[7]["content"])
    with pytest.raises(InternalError):
        generate.delay("Hello").get(timeout=10)
"""


def test_what_is_wrong_is_told_and_spoils_no_other_test(backend: Backend) -> None:
    """In a marker, and in a function that makes a reply: the job's own error has no word of it."""
    backend.files(test_it=WRONG)
    result = backend.pytest("-q")
    result.assert_outcomes(passed=2, errors=7)
    said = result.stdout.str()
    assert "use it so: local_llm(redis='fake'" in said
    assert "'fake' or 'embedded', not 'valkey'" in said
    assert "no setting max_queue_lenght" in said
    assert "max_queue_length" in said
    assert "one model at least" in said
    assert "IndexError" in said
