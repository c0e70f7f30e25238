"""What becomes of a job whose engine died: nobody is charged for the first death."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local_llm_service.tasks import engine_death
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import CrashedTooOften, StreamBroken
from local_llm_service.worker.intake import engine_deaths
from local_llm_service.worker.intake.engine_deaths import EngineDeaths
from local_llm_service.worker.prompt import Prompt
from tests.unit.test_isolation import JOB

DIED = EngineDied("the runner died")


def after(deaths: int, *, max_crashes: int = 3, crashes: int = 0, restarts: int = 0) -> bool:
    """Whether one more death ends a job that has seen `deaths`."""
    lately = EngineDeaths()
    for number in range(restarts):
        lately.note(f"other {number}")
        lately.acquit(f"other {number}")
    delivery = replace(JOB, engine_deaths=deaths, crashes=crashes)
    return isinstance(engine_death.final(DIED, delivery, max_crashes, lately), CrashedTooOften)


def test_a_job_is_given_up_at_its_third_death_and_not_before_it_ran_without_its_grammar() -> None:
    """Beside others, alone, alone without its grammar; MAX_CRASHES can allow more, never fewer."""
    assert [after(deaths) for deaths in (0, 1, 2)] == [False, False, True]
    assert [after(deaths, max_crashes=1) for deaths in (0, 1, 2)] == [False, False, True]
    assert [after(deaths, max_crashes=5) for deaths in (2, 3, 4)] == [False, False, True]


def test_an_engine_that_also_dies_of_something_else_gives_up_its_jobs_later() -> None:
    """It is restarted again and again, say: a job that is hit thrice may be innocent."""
    assert [after(deaths, restarts=1) for deaths in (2, 3, 4, 5)] == [False, False, False, True]


def test_a_death_is_unexplained_once_all_its_jobs_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One moment ends the jobs of all slots. It is remembered for ten minutes."""
    lately, now = EngineDeaths(), [1000.0]
    monkeypatch.setattr(engine_deaths.time, "monotonic", lambda: now[0])
    for name in ("guilty", "a", "b"):
        lately.note(name)
    lately.acquit("a")
    lately.acquit("b")
    assert not lately.has_unexplained
    now[0] += 5
    lately.note("a")
    lately.note("c")
    lately.acquit("c")
    assert not lately.has_unexplained
    lately.acquit("a")
    assert lately.has_unexplained
    now[0] += engine_deaths.MEMORY_SECONDS
    assert not lately.has_unexplained


def test_a_job_that_a_worker_died_with_is_not_charged_for_its_engines_first_death() -> None:
    """Crashes and deaths are counted apart."""
    assert not after(0, crashes=2)


def test_only_a_death_gives_a_job_up() -> None:
    """Another error keeps its own way, also that of a suspect."""
    error = StreamBroken("broke off")
    assert engine_death.final(error, replace(JOB, engine_deaths=2), 3, EngineDeaths()) is error


def test_the_grammar_is_lost_after_a_death_alone() -> None:
    """A suspect that was beside others keeps it: it may be innocent."""
    prompt = Prompt(({"role": "user", "content": "x"},), 10, schema={"type": "object"})
    kept = [engine_death.safer(prompt, replace(JOB, engine_deaths=n)).grammar for n in range(4)]
    assert kept == [True, True, False, False]


def test_a_job_that_was_given_up_does_not_run_again() -> None:
    """For example one whose worker died before it stored the failure."""
    engine_death.check(replace(JOB, engine_deaths=5), 3)
    with pytest.raises(CrashedTooOften, match="Ollama died 6 times"):
        engine_death.check(replace(JOB, engine_deaths=6), 3)


def test_how_a_job_ran() -> None:
    """A suspect always runs alone."""
    assert engine_death.how_it_ran(JOB) == "beside"
    assert engine_death.how_it_ran(replace(JOB, engine_deaths=1)) == "alone"
    assert engine_death.how_it_ran(replace(JOB, crashes=1)) == "alone"
