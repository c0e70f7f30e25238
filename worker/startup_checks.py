"""Checks of `python -m worker` before it starts: Redis, the other workers' settings, engines."""

from __future__ import annotations

import logging

from local_llm_service.worker.engine import open_engine
from local_llm_service.worker.engine.engines import members_of
from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.engine.side_by_side import side_by_side
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.file_rules import is_at_home
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.eviction import dropping_policy, unsafe
from local_llm_service.worker.store.old_keys import old_keys
from local_llm_service.worker.store.presence import Presence, read_all
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)

MINIMUM_REDIS = (6, 2)

_AT_HOME = (
    "engine %s at %s is in no private network, as far as its name tells, and ENGINES_FILE says "
    "that it does not leave the house: it gets what callers want to keep."
)


def redis_conflict(settings: Settings) -> str | None:
    """Why this worker must not run on this Redis, and what to do; None when it may.

    Logs a warning for a server that is too old. Raises BrokerUnreachable.
    """
    with reachable(settings.redis_url) as client:
        server = client.info("server")
        policy = dropping_policy(client)
        is_old = old_keys(client)
        others = read_all(Store.of(settings))
    if _numbers(str(server["redis_version"])) < MINIMUM_REDIS:
        logger.warning(
            "Redis %s is older than 6.2, which Celery 5.7 needs", server["redis_version"]
        )
    if policy is not None:
        error = unsafe(policy)
        if not settings.allow_eviction:
            return f"{error.message}. {error.hint.removesuffix('.')}"
        logger.warning("%s: jobs can be lost. ALLOW_EVICTION is set", error.message)
    if budgets := other_budgets(settings, others):
        logger.warning(
            "REMOTE_BUDGET_USD is %s here and %s in another worker on this Redis: each checks by "
            "its own, so the largest counts. Give all workers the same",
            settings.remote_budget_usd,
            " and ".join(budgets),
        )
    return is_old or lease_conflict(settings, others)


def lease_conflict(settings: Settings, others: list[Presence]) -> str | None:
    """Why this worker must not run beside `others`; None when it may.

    With a shorter lease than theirs, it would take jobs away from healthy workers.
    """
    lease = settings.lease_seconds
    theirs = {other.lease_seconds for other in others} - {None, lease}
    if not theirs:
        return None
    return (
        f"LEASE_SECONDS is {lease:g} here and {min(filter(None, theirs)):g} in another worker on "
        "this Redis. Give all workers the same value, or stop the others first"
    )


def other_budgets(settings: Settings, others: list[Presence]) -> list[str]:
    """What other workers say that paid models may cost, where it differs; none where this worker
    has no paid model."""
    if not Fleet.of(settings).has_paid_models:
        return []
    theirs = {other.remote_budget_usd for other in others} - {None}
    own = _parts(settings.remote_budget_usd or "")
    return sorted(one for one in theirs if one is not None and _parts(one) != own)


def warn_of_public_engines(fleet: Fleet) -> None:
    """Log a warning for each engine that is said to be at home, and does not look so."""
    for one in fleet.engines:
        if not (one.leaves_the_house or is_at_home(one.url)):
            logger.warning(_AT_HOME, one.name, one.masked_url)


def check_engines(settings: Settings) -> None:
    """Log a warning for each problem; the worker starts anyway, as an engine may come later."""
    engine, fleet = open_engine(settings), Fleet.of(settings)
    if settings.engines_file is not None:
        warn_of_public_engines(fleet)
    try:
        members = members_of(engine, fleet)
        served_by = side_by_side(_served_by, members)
        found = {one.name: served for one, served in zip(members, served_by, strict=True)}
    finally:
        engine.close()
    name = settings.model_name
    model = fleet.own_name(name)
    served = found.get(fleet.engine_of(model).name)
    if served is not None and full_name(model) not in served:
        if settings.engines_file is None:
            logger.warning("%s is not on this Ollama. Run `ollama pull %s`.", name, name)
        else:
            logger.warning("MODEL_NAME %s is on no engine of ENGINES_FILE.", name)


def _served_by(member: Member) -> set[str] | None:
    """The full names of an engine's models; None where it does not answer. Logs what is wrong."""
    where = "" if member.entry.kind == "ollama" else f"engine {member.name}: "
    try:
        said = member.look()
    except ServiceError as error:
        logger.warning("%s%s. %s", where, error.message, error.hint)
        return None
    for note in said.notes:
        logger.warning("%s%s.", where, note)
    return {full_name(model.name) for model in said.models}


def _parts(budget: str) -> list[str]:
    """`5/day, 9/month` and `9/month,5/day` are the same."""
    return sorted("".join(budget.split()).split(","))


def _numbers(version: str) -> tuple[int, ...]:
    """`0.33.0-rc2` as (0, 33, 0)."""
    parts = version.split("-")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())
