"""What an engine's death means for the job that it ran: a suspicion, a looser prompt, or the end.

An engine dies with all jobs in it, so the first death charges nobody: each becomes a suspect, which
runs again with nothing beside it (lease/isolation.py). Only one that was alone when its engine died
is charged. It first loses its grammar, which is what kills most often, and then it is given up.
"""

from __future__ import annotations

from dataclasses import replace

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import CrashedTooOften, ServiceError
from local_llm_service.worker.intake.engine_deaths import EngineDeaths
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.store.jobs import EngineDeath
from local_llm_service.worker.store.outcomes import Delivery

#: From this count on a job has been alone with an engine that died.
GUILTY_DEATHS = 2
#: A job is not given up before it has run without its grammar, whatever MAX_CRASHES says.
LEAST_DEATHS = 3
#: Where the engine has also died of something that was no job, each has so many times the tries: 20
#: restarts of Ollama in three minutes gave up 3 of 611 innocent jobs.
UNSTABLE_FACTOR = 2

HINT = "Look into the log of `ollama serve`; ask with a simpler JSON Schema, or update Ollama."


def how_it_ran(delivery: Delivery) -> EngineDeath:
    """Whether a job ran alone in its worker; a suspect always does."""
    return "alone" if delivery.is_suspect else "beside"


def is_charged(delivery: Delivery) -> bool:
    """Whether a death in this run counts against the job: it is known as a suspect of one."""
    return delivery.is_suspect and delivery.engine_deaths > 0


def safer(prompt: Prompt, delivery: Delivery) -> Prompt:
    """The prompt without its grammar, if the job alone has killed an engine with it."""
    return replace(prompt, grammar=False) if delivery.engine_deaths >= GUILTY_DEATHS else prompt


def check(delivery: Delivery, max_crashes: int) -> None:
    """Raise CrashedTooOften for a job that has been given up, wherever that was."""
    if delivery.engine_deaths >= _most(max_crashes, is_unstable=True):
        raise _given_up(delivery.engine_deaths)


def final(
    error: ServiceError, delivery: Delivery, max_crashes: int, lately: EngineDeaths
) -> ServiceError:
    """The error to go on with: CrashedTooOften instead of one death too many.

    Notes each death in `lately`.
    """
    if not isinstance(error, EngineDied):
        return error
    lately.note(delivery.task_id)
    if not is_charged(delivery):
        return error
    deaths = delivery.engine_deaths + 1
    most = _most(max_crashes, is_unstable=lately.has_unexplained)
    return _given_up(deaths) if deaths >= most else error


def _most(max_crashes: int, *, is_unstable: bool) -> int:
    return max(LEAST_DEATHS, max_crashes) * (UNSTABLE_FACTOR if is_unstable else 1)


def _given_up(deaths: int) -> CrashedTooOften:
    return CrashedTooOften(f"Ollama died {deaths} times while it ran this job", HINT)
