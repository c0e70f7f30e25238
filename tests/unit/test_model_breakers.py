"""Breakers of models: three failures in a row, one probe at a time, a pause that doubles."""

from __future__ import annotations

import pytest

from local_llm_service.worker import errors
from local_llm_service.worker.intake import model_breakers
from local_llm_service.worker.intake.model_breakers import ModelBreakers

MODELS = ("a:1b", "b:1b", "c:1b")


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of the breakers' `time`."""
    clock = Clock()
    monkeypatch.setattr(model_breakers, "time", clock)
    return clock


class Site:
    """Breakers, and how often they told of a change."""

    def __init__(self, clock: Clock) -> None:
        self.told, self.clock = 0, clock
        self.breakers = ModelBreakers(self._changed)

    def _changed(self) -> None:
        self.told += 1

    def fail(self, model: str, error: errors.ServiceError | None = None, times: int = 1) -> None:
        """Runs that begin and fail, a moment after each other."""
        for _ in range(times):
            self.clock.now += 0.01
            self.breakers.ended(model, error or errors.ModelFailed("broken"), self.clock.now)

    def allowed(self, *in_flight: str) -> list[str]:
        """What jobs may be taken for."""
        return self.breakers.allowed(MODELS, in_flight)


@pytest.fixture
def site(clock: Clock) -> Site:
    """Breakers that have seen nothing."""
    return Site(clock)


def test_one_failure_is_a_jobs_own_fault(site: Site) -> None:
    """Two, too; and a success in between starts the count anew."""
    site.fail("a:1b", times=2)
    site.breakers.ended("a:1b", None, site.clock.now)
    site.fail("a:1b", times=2)
    assert site.allowed() == [*MODELS]
    assert site.breakers.failing(MODELS) == []


def test_three_in_a_row_open_the_breaker_of_that_model(site: Site) -> None:
    """Others are taken as before, and the publisher hears of it."""
    site.fail("a:1b", times=3)
    assert site.allowed() == ["b:1b", "c:1b"]
    assert site.breakers.failing(MODELS) == ["a:1b"]
    assert site.told == 1


def test_after_a_pause_one_probe_is_taken_at_a_time(site: Site) -> None:
    """While a job of the model is in flight, no other is taken for it."""
    site.fail("a:1b", times=3)
    site.clock.now += 1.01
    assert site.allowed() == [*MODELS]
    assert site.allowed("a:1b") == ["b:1b", "c:1b"]


def test_the_pause_doubles_to_its_longest(site: Site) -> None:
    """1, 2, 4, 8, 10, 10 s."""
    site.fail("a:1b", times=3)
    pauses = []
    for _ in range(6):
        began = site.clock.now
        while "a:1b" not in site.allowed():
            site.clock.now += 0.25
        pauses.append(round(site.clock.now - began))
        site.fail("a:1b")
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_a_success_closes_it(site: Site) -> None:
    """Also an answer that breaks its contract: the engine has done its part."""
    for outcome in (None, errors.InvalidOutput("cut")):
        site.fail("a:1b", times=3)
        site.breakers.ended("a:1b", outcome, site.clock.now)
        assert site.allowed() == [*MODELS]
        assert site.breakers.are_quiet
    assert site.told == 4


@pytest.mark.parametrize(
    "error",
    [errors.Cancelled("x"), errors.DeadlineExceeded("x"), errors.ContextOverflow("x")],
    ids=lambda error: error.code,
)
def test_what_is_not_the_engines_fault_changes_nothing(
    site: Site, error: errors.ServiceError
) -> None:
    """It neither opens a breaker nor closes one."""
    site.fail("a:1b", error, times=5)
    assert site.allowed() == [*MODELS]
    site.fail("b:1b", times=3)
    site.fail("b:1b", error)
    assert site.allowed() == ["a:1b", "c:1b"]


def test_a_model_that_is_listed_and_missing_opens_at_once(site: Site) -> None:
    """A second job would fare no better."""
    site.fail("a:1b", errors.ModelMissing("gone"))
    assert site.allowed() == ["b:1b", "c:1b"]


def test_a_runner_that_dies_under_all_slots_is_one_failure(site: Site) -> None:
    """Their runs began before the first of them broke off."""
    began = site.clock.now
    for _ in range(4):
        site.clock.now += 0.01
        site.breakers.ended("a:1b", errors.StreamBroken("cut"), began)
    assert site.allowed() == [*MODELS]


def test_runs_from_before_the_breaker_opened_do_not_lengthen_its_pause(site: Site) -> None:
    """Four slots fail at once; the first probe comes after the first pause all the same."""
    site.fail("a:1b", times=6)
    site.clock.now += 1.01
    assert "a:1b" in site.allowed()


def test_an_engine_that_fails_several_models_takes_one_job_at_all(site: Site) -> None:
    """Not one for each of them."""
    site.fail("a:1b")
    site.fail("b:1b", times=2)
    site.fail("a:1b", times=2)
    assert site.allowed() == []
    assert site.breakers.failing(MODELS) == [*MODELS]
    site.clock.now += 1.01
    assert "c:1b" in site.allowed()
    assert site.allowed("c:1b") == []
    site.breakers.ended("c:1b", None, site.clock.now)
    assert "c:1b" in site.allowed()


def test_models_that_are_gone_are_forgotten(site: Site) -> None:
    """A model that is pulled again starts anew, and no name stays for ever."""
    site.fail("a:1b", times=3)
    site.breakers.keep_only(("b:1b",))
    assert site.breakers.are_quiet
    assert site.allowed() == [*MODELS]
