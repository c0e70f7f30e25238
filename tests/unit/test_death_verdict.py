"""What becomes of a job whose engine died: nobody is charged for the first death."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local_llm_service.tasks import engine_death
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import CrashedTooOften, StreamBroken
from local_llm_service.worker.prompt import Prompt
from tests.unit.test_isolation import JOB

DIED = EngineDied("the runner died")


def after(deaths: int, *, max_crashes: int = 3, crashes: int = 0) -> bool:
    """Whether one more death ends a job that has seen `deaths`."""
    delivery = replace(JOB, engine_deaths=deaths, crashes=crashes)
    return isinstance(engine_death.final(DIED, delivery, max_crashes), CrashedTooOften)


def test_a_job_is_given_up_at_its_third_death_and_not_before_it_ran_without_its_grammar() -> None:
    """Beside others, alone, alone without its grammar; MAX_CRASHES can allow more, never fewer."""
    assert [after(deaths) for deaths in (0, 1, 2)] == [False, False, True]
    assert [after(deaths, max_crashes=1) for deaths in (0, 1, 2)] == [False, False, True]
    assert [after(deaths, max_crashes=5) for deaths in (2, 3, 4)] == [False, False, True]


def test_a_job_that_a_worker_died_with_is_not_charged_for_its_engines_first_death() -> None:
    """Crashes and deaths are counted apart."""
    assert not after(0, crashes=2)


def test_only_a_death_gives_a_job_up() -> None:
    """Another error keeps its own way, also that of a suspect."""
    error = StreamBroken("broke off")
    assert engine_death.final(error, replace(JOB, engine_deaths=2), 3) is error


def test_the_grammar_is_lost_after_a_death_alone() -> None:
    """A suspect that was beside others keeps it: it may be innocent."""
    prompt = Prompt(({"role": "user", "content": "x"},), 10, schema={"type": "object"})
    kept = [engine_death.safer(prompt, replace(JOB, engine_deaths=n)).grammar for n in range(4)]
    assert kept == [True, True, False, False]


def test_a_job_that_was_given_up_does_not_run_again() -> None:
    """For example one whose worker died before it stored the failure."""
    engine_death.check(replace(JOB, engine_deaths=2), 3)
    with pytest.raises(CrashedTooOften, match="Ollama died 3 times"):
        engine_death.check(replace(JOB, engine_deaths=3), 3)


def test_how_a_job_ran() -> None:
    """A suspect always runs alone."""
    assert engine_death.how_it_ran(JOB) == "beside"
    assert engine_death.how_it_ran(replace(JOB, engine_deaths=1)) == "alone"
    assert engine_death.how_it_ran(replace(JOB, crashes=1)) == "alone"
