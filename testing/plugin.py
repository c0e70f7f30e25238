"""The pytest plugin: the fixture `local_llm`, its marker, and a guard for tests that forgot it.

pytest loads it in every run on a machine that has this package, so it imports nothing of ours
before a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from local_llm_service.testing.local_llm import LocalLLM
    from local_llm_service.testing.stand_in import StandIn

FIXTURE = "local_llm"
MARKER = (
    "local_llm(redis='fake', slots=1, models=['scripted:1b'], settings={}): how the fixture "
    "local_llm is set up. redis: 'fake' (fakeredis, in this process), 'embedded' (a real server of "
    "this run's own), or 'real' for a test without the fixture that may reach the Redis of "
    "REDIS_URL."
)
_OPTIONS = {"redis", "slots", "models", "settings"}
_GUARDED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our settings in pytest's ini file."""
    parser.addini("local_llm_redis", "What local_llm runs on: fake or embedded.", default="fake")
    parser.addini(
        "local_llm_guard",
        "In a run with tests that use local_llm, keep all others from the Redis of REDIS_URL.",
        type="bool",
        default=True,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Guard the run if a test of it uses the fixture."""
    uses = any(FIXTURE in getattr(item, "fixturenames", ()) for item in session.items)
    session.config.stash[_GUARDED] = uses and bool(session.config.getini("local_llm_guard"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that forgot the fixture reaches no Redis, whatever REDIS_URL says."""
    with ExitStack() as exits:
        means_it = any(one.kwargs.get("redis") == "real" for one in item.iter_markers(FIXTURE))
        if item.config.stash.get(_GUARDED, False) and not means_it:
            from local_llm_service.worker.store.connection import dialling

            exits.enter_context(dialling(_forgotten))
        return (yield)


@pytest.fixture
def local_llm(request: pytest.FixtureRequest) -> Iterator[LocalLLM]:
    """The service in this process, with a scripted model and an empty Redis: docs/testing.md."""
    from local_llm_service.testing.local_llm import MODEL, local_llm_service

    options = _options(request.node)
    choice = options.get("redis", request.config.getini("local_llm_redis"))
    with ExitStack() as exits:
        redis = _redis(choice, request, exits.enter_context)
        yield exits.enter_context(
            local_llm_service(
                redis,
                models=tuple(options.get("models", (MODEL,))),
                slots=options.get("slots", 1),
                settings=options.get("settings", {}),
            )
        )


@pytest.fixture(scope="session")
def _local_llm_embedded_redis() -> Iterator[StandIn]:
    from local_llm_service.testing.embedded_redis import embedded

    with embedded() as redis:
        yield redis


def _redis(
    choice: str,
    request: pytest.FixtureRequest,
    enter: Callable[[AbstractContextManager[StandIn]], StandIn],
) -> StandIn:
    if choice == "fake":
        from local_llm_service.testing.stand_in import fake

        return enter(fake())
    if choice != "embedded":
        pytest.fail(f"local_llm: redis is 'fake' or 'embedded', not {choice!r}", pytrace=False)
    from local_llm_service.testing.embedded_redis import empty

    redis: StandIn = request.getfixturevalue("_local_llm_embedded_redis")
    empty(redis)
    return redis


def _options(node: pytest.Item) -> Mapping[str, Any]:
    """The keyword arguments of the markers on a test; the closest one counts."""
    found: dict[str, Any] = {}
    for marker in node.iter_markers(FIXTURE):
        if marker.args or marker.kwargs.keys() - _OPTIONS:
            pytest.fail(f"use it so: {MARKER}", pytrace=False)
        found = {**marker.kwargs, **found}
    return found


def _forgotten() -> NoReturn:
    raise RuntimeError(
        "this test does not use the fixture local_llm, and so reaches no Redis. Add the fixture, "
        "or, if it is to reach the Redis of REDIS_URL, @pytest.mark.local_llm(redis='real')."
    )
