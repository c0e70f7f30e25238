"""One test for each subject: `subject` is every one, `scripted` those that play scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from local_llm_service.worker.engine import Engine
from tests.conformance.registry import REAL, SCRIPTED
from tests.conformance.subject import Scripted, Subject


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The subjects of a test, by the fixture that it takes."""
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", [*SCRIPTED, *REAL], indirect=True)
    elif "scripted" in metafunc.fixturenames:
        metafunc.parametrize("scripted", [*SCRIPTED], indirect=True)


@pytest.fixture(scope="session")
def real() -> Iterator[Callable[[str], Subject]]:
    """The subject of a real server, which starts once in a run."""
    started: dict[str, Subject] = {}
    with ExitStack() as servers:

        def get(name: str) -> Subject:
            if name not in started:
                started[name] = REAL[name](servers)
            return started[name]

        yield get


@pytest.fixture
def subject(request: pytest.FixtureRequest, real: Callable[[str], Subject]) -> Iterator[Subject]:
    """One subject, with its server running."""
    if request.param in REAL:
        yield real(request.param)
        return
    with SCRIPTED[request.param]() as made:
        yield made


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    """One subject whose server plays scenes."""
    with SCRIPTED[request.param]() as made:
        yield made


MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(request: pytest.FixtureRequest) -> Iterator[MakeEngine]:
    """Make engines for the test's subject; they are closed with the test."""
    name = "subject" if "subject" in request.fixturenames else "scripted"
    tried: Subject = request.getfixturevalue(name)
    made: list[Engine] = []

    def make(**settings: Any) -> Engine:
        made.append(tried.engine(**settings))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    """An engine for the test's subject."""
    return make_engine()
