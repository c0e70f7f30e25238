"""How a kind's program is run: by one model, or by the models of a route (tasks/routing/)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from local_llm_service.tasks.answer import Route
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.tasks.steps.spent import Spent


class ProgramRun(Protocol):
    """One run. All but `fields` is asked when that has returned or raised."""

    def fields(self, kind: Kind, request: JobRequest) -> Mapping[str, object]:
        """The answer's own fields; see Program. Raises what its steps raise."""

    @property
    def model(self) -> str:
        """The name of the model that was asked last."""

    @property
    def spent(self) -> Spent:
        """What the answer has cost: its usage, its timings, how its last completion ended."""

    @property
    def wasted(self) -> Spent:
        """What tries have cost that led to no answer; no part of `spent`."""

    @property
    def route(self) -> Route | None:
        """How the model was chosen; None where the caller named it."""

    @property
    def route_name(self) -> str:
        """The name of the route; empty where the caller named the model."""

    @property
    def is_repeatable(self) -> bool:
        """Whether the same call would be answered so again: not where something was away."""

    @property
    def keeps_contract(self) -> bool:
        """Whether the answer is what was asked for; one that is none is no saving."""

    @property
    def paid_nano_usd(self) -> int:
        """What the completions of all tries have cost, nanodollars."""

    def acquit(self) -> None:
        """Clear the job of its engine's deaths, if that has answered all of it by now."""


class OneModelRun:
    """A run by one model: the caller's, the default one, or that of a route which has no choice.

    See ProgramRun.
    """

    is_repeatable = keeps_contract = True

    def __init__(self, ask: EngineSteps, route_name: str = "", reason: str = "") -> None:
        """With the name of a route, `reason` says why it has no choice."""
        self._ask, self.route_name = ask, route_name
        self.route = Route(chosen=ask.model, reason=reason) if route_name else None
        self.wasted = Spent()

    def fields(self, kind: Kind, request: JobRequest) -> Mapping[str, object]:
        """See ProgramRun."""
        return kind.work(request, self._ask)

    @property
    def model(self) -> str:
        """See ProgramRun."""
        return self._ask.model

    @property
    def spent(self) -> Spent:
        """See ProgramRun."""
        return self._ask.spent

    @property
    def paid_nano_usd(self) -> int:
        """See ProgramRun."""
        return self._ask.paid_nano_usd

    def acquit(self) -> None:
        """See ProgramRun."""
        self._ask.acquit()
