"""Which model a route asks first: by what fits, by what can be done, and by how complex it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.tasks.routing.fit import is_too_long, lacking, tokens_of
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.engine.engines import capabilities_of
from local_llm_service.worker.fleet.fleet import FleetRoute
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.router import Router, router_of
from local_llm_service.worker.runtime import WorkerRuntime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """`is_second_best`: the other model was away, and would have been asked first."""

    is_remote: bool
    reason: str
    is_second_best: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of models before one is asked, each by its name in the route. `is_up`: its
    engine answers, and does not fail it, as far as anybody knows."""

    context_tokens: Callable[[str], int]
    capabilities_of: Callable[[str], Capabilities]
    is_up: Callable[[str], bool]
    router: Callable[[], Router]


def known_by(runtime: WorkerRuntime, in_flight: InFlightDelivery) -> Known:
    """What a worker knows, for one of its jobs."""

    def others() -> list[str]:
        there = runtime.in_flight.all()
        return [one.model or one.delivery.model for one in there if one is not in_flight]

    return Known(
        context_tokens=runtime.engine.context_tokens,
        capabilities_of=lambda model: capabilities_of(runtime.engine, model),
        is_up=lambda model: runtime.served.may_be_asked(model, others),
        router=lambda: router_of(runtime.settings),
    )


def choose(
    route: FleetRoute, asked: Asked, known: Known, likely_tokens: Callable[[str], int]
) -> Choice:
    """The model to ask first, of a route that has a remote one and may use it. Asks nobody."""
    assert route.remote is not None
    must = _why_only_remote(route.local, route.remote, asked, known, likely_tokens)
    if must:
        return Choice(True, must)
    verdict = _verdict(known, asked.question)
    is_local_up, is_remote_up = known.is_up(route.local), known.is_up(route.remote)
    if verdict is not None and _is_complex(verdict, route.complex_from):
        if is_local_up and not is_remote_up:
            return Choice(False, reasons.after_remote(reasons.AWAY), is_second_best=True)
        return Choice(True, reasons.COMPLEX)
    if is_remote_up and not is_local_up:
        return Choice(True, reasons.after_local(reasons.AWAY))
    return Choice(False, reasons.ROUTER_FAILED if verdict is None else reasons.SIMPLE)


def _why_only_remote(
    local: str, remote: str, asked: Asked, known: Known, likely_tokens: Callable[[str], int]
) -> str:
    """Why only the remote model can do what is asked for; empty where that is not so."""
    lacks = lacking(asked, known.capabilities_of(local))
    if lacks and not lacking(asked, known.capabilities_of(remote)):
        return lacks
    tokens = cache(lambda: tokens_of(asked.texts, likely_tokens))
    if is_too_long(asked, tokens, lambda: known.context_tokens(local)) and not is_too_long(
        asked, tokens, lambda: known.context_tokens(remote)
    ):
        return reasons.TOO_LONG
    return ""


def _verdict(known: Known, question: str) -> Verdict | None:
    """What the router says; None where it fails, or says what is no verdict."""
    try:
        verdict = known.router()(question)
        is_verdict = isinstance(verdict.is_complex, bool) and 0 <= float(verdict.score) <= 1
    except Exception as error:  # noqa: BLE001  # ROUTER may be anybody's code
        problem = type(error).__name__
    else:
        if is_verdict and not math.isnan(verdict.score):
            return Verdict(verdict.is_complex, float(verdict.score))
        problem = "no Verdict"
    logger.warning("ROUTER failed (%s): the local model is asked", problem)
    return None


def _is_complex(verdict: Verdict, complex_from: float | None) -> bool:
    return verdict.is_complex if complex_from is None else verdict.score >= complex_from
