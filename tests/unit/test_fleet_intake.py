"""What a worker with several engines takes, while one is away, full, or fails a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from local_llm_service.worker.engine.engines import Engines
from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.errors import EngineTimeout, ModelFailed, OllamaBusy
from local_llm_service.worker.fleet.fleet import Fleet, FleetRoute
from local_llm_service.worker.intake import circuit_breaker, model_breakers
from local_llm_service.worker.intake.engine_breakers import EngineBreakers
from local_llm_service.worker.intake.engine_looks import EngineLooks
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.intake.served_models import ServedModels
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings
from tests.doubles.fleet import FLEET, StillEngine, still_fleet

WaitUntil = Callable[..., object]
EVERYTHING = ["small:1b", "tiny:1b", "large:latest", "big:latest", "auto:latest", "local:latest"]


class Intake:
    """The parts of a worker that decide what it takes; `held` is what its jobs run with."""

    def __init__(self, fleet: Fleet = FLEET, **settings: object) -> None:
        self.engines: Engines
        self.home: StillEngine
        self.away: StillEngine
        self.engines, self.home, self.away = still_fleet(fleet)
        self.settings = Settings(
            **{"model_name": "small:1b", "engines_file": "engines.toml", **settings}  # type: ignore[arg-type]
        )
        self.gate = Gate()
        self.catalog = ModelCatalog(self.settings, self.engines, fleet)
        self.breakers = EngineBreakers(fleet, self.catalog.members, self.gate, self.catalog)
        self.held: list[str] = []
        self.served = ServedModels(
            self.settings, self.catalog, self.gate, self.breakers, lambda: self.held
        )

    def now(self) -> list[str]:
        """What is taken, without the sign of the default."""
        return [name for name in self.served.now() or () if name != "*"]


@pytest.fixture
def intake(monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil) -> Iterator[Intake]:
    """An intake whose engines have been looked at, with breakers that probe quickly."""
    for name in (
        "FIRST_PROBE_SECONDS", "LONGEST_PAUSE_SECONDS", "LONGEST_PAUSE_ELSEWHERE_SECONDS"
    ):  # fmt: skip
        monkeypatch.setattr(circuit_breaker, name, 0.002)
    found = Intake()
    found.catalog.look()
    yield found
    found.home.away = found.away.away = None
    wait_until(lambda: not found.breakers.away, "no probe is left")


def test_nothing_is_taken_before_the_first_look() -> None:
    """One engine is enough to begin."""
    intake = Intake()
    assert intake.served.now() is None
    intake.away.leave()
    intake.catalog.look()
    assert intake.now() == ["small:1b", "tiny:1b", "auto:latest", "local:latest"]


def test_every_name_is_served(intake: Intake) -> None:
    """Models, aliases, routes, and the default."""
    assert intake.now() == EVERYTHING
    assert (intake.served.now() or [])[-1] == "*"
    assert json.loads(intake.served.table())["serves"] == [*EVERYTHING, "*"]


def test_an_engine_that_is_away_takes_its_models_along(
    intake: Intake, wait_until: WaitUntil
) -> None:
    """Its jobs wait, as others are told that it serves them; the gate stays open."""
    intake.away.leave()
    assert intake.breakers.is_away("big")
    assert not intake.breakers.is_away("auto")
    assert intake.gate.is_open
    assert intake.now() == ["small:1b", "tiny:1b", "auto:latest", "local:latest"]
    assert json.loads(intake.served.table())["serves"] == [*EVERYTHING, "*"]
    assert intake.served.rings() == [*EVERYTHING, "*"]
    intake.away.away = None
    wait_until(lambda: intake.now() == EVERYTHING, "it is back")


def test_a_route_goes_on_where_its_remote_model_is(intake: Intake, wait_until: WaitUntil) -> None:
    """The local engine is away, or fails the model; a route without a remote model waits."""
    intake.home.leave()
    assert intake.breakers.is_away("small:1b")
    assert intake.now() == ["large:latest", "big:latest", "auto:latest"]
    assert not intake.served.is_up("auto")
    assert intake.served.is_up("big")
    intake.home.away = None
    wait_until(lambda: intake.now() == EVERYTHING, "it is back")
    for began_at in (1e9, 2e9, 3e9):
        intake.served.ended("small:1b", ModelFailed("broken"), began_at)
    assert intake.now() == ["tiny:1b", *EVERYTHING[2:]]
    assert intake.served.failing() == ["small:1b"]
    assert json.loads(intake.served.table())["failing"] == ["small:1b", "*"]


def test_a_model_that_fails_is_asked_by_one_job_at_a_time(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that answers what it has, and hangs over each prompt, would cost every job of a
    route a long wait."""
    others: list[str] = []
    assert intake.served.may_be_asked("big", lambda: others)
    assert not intake.served.may_be_asked("gone", lambda: others)
    for began_at in (1e9, 2e9, 3e9):
        intake.served.ended("large", EngineTimeout("no first token"), began_at)
    assert intake.served.is_up("big")
    assert not intake.served.may_be_asked("big", lambda: others)
    assert intake.served.may_be_asked("auto", lambda: others), "its local model is fine"
    monkeypatch.setattr(model_breakers, "time", SimpleNamespace(monotonic=lambda: 1e10))
    assert intake.served.may_be_asked("big", lambda: others)
    others.append("big")
    assert not intake.served.may_be_asked("big", lambda: others)


def test_the_gate_closes_only_while_all_are_away(intake: Intake, wait_until: WaitUntil) -> None:
    """As with a single engine."""
    intake.away.leave()
    intake.home.leave()
    intake.breakers.trip("home")
    assert intake.gate.is_open
    intake.breakers.trip("away")
    assert intake.gate.reasons == [Reason.OLLAMA]
    assert intake.breakers.away == {"home", "away"}
    intake.away.away = None
    wait_until(lambda: intake.gate.is_open, "one of them is back")
    assert intake.breakers.away == {"home"}


def test_what_is_full_is_not_taken(intake: Intake) -> None:
    """A job counts for the model that it runs with, whatever it asked for."""
    intake.held = ["auto:latest"]
    assert intake.now() == ["tiny:1b", "large:latest", "big:latest", "local:latest"]
    intake.held = ["*", "tiny:1b"]
    assert intake.now() == ["large:latest", "big:latest"]
    intake.held = ["big:latest", "large:latest"]
    assert intake.now() == ["small:1b", "tiny:1b", "auto:latest", "local:latest"]
    assert (intake.served.running("home"), intake.served.running("away")) == (0, 2)
    intake.held = ["tiny:1b"]
    assert intake.now() == EVERYTHING
    intake.home.occupied = 1
    assert intake.now() == ["large:latest", "big:latest"]


def test_what_is_taken_once_a_job_has_left(intake: Intake) -> None:
    """A job of several steps makes room for those that wait for its model's slot alone."""
    intake.held = ["small:1b", "tiny:1b"]
    assert intake.now() == ["large:latest", "big:latest"]
    assert intake.served.now(without="small:1b") == [*EVERYTHING, "*"]
    assert intake.served.now(without="nobody") == intake.served.now()


def test_the_failures_of_one_engine_are_not_the_others(intake: Intake) -> None:
    """Two failing models close their own engine alone."""
    for began_at in (1e9, 2e9, 3e9, 4e9):
        for model in ("small:1b", "tiny:1b"):
            intake.served.ended(model, ModelFailed("broken"), began_at)
    assert intake.now() == ["large:latest", "big:latest", "auto:latest"]


def test_revisions(intake: Intake) -> None:
    """A digest; else the fleet's word, else the operator's; with an alias it is the model's."""
    of = intake.catalog.revision
    assert of("small:1b") == "d/8192/2048"
    by_hand = of("large")
    assert by_hand is not None
    assert by_hand.endswith("/128000/2048")
    assert of("big") == by_hand
    models = replace(FLEET.engines[1].models[0], revision=None)
    engines = (FLEET.engines[0], replace(FLEET.engines[1], models=(models,)))
    without = Intake(replace(FLEET, engines=engines))
    assert without.catalog.revision("big") is None
    assert without.catalog.revision("auto") is None, "one of its models has none"
    assert without.catalog.revision("local") is not None
    assert without.catalog.without_revision() == ["large:latest"]
    by_setting = Intake(replace(FLEET, engines=engines), model_revision="r1")
    assert by_setting.catalog.revision("big") == by_hand
    assert Intake(enable_cache=False).catalog.revision("small:1b") is None


def test_a_routes_revision_is_all_that_decides(intake: Intake, tmp_path: Path) -> None:
    """Another threshold, another router, another model: another route."""
    seen = {intake.catalog.revision("auto"), intake.catalog.revision("local")}
    routes = [
        FleetRoute("auto", "small:1b", "big", complex_from=0.5),
        FleetRoute("auto", "small:1b", "big", cascade=False),
        FleetRoute("auto", "tiny:1b", "big"),
    ]
    for route in routes:
        seen.add(Intake(replace(FLEET, routes=(route,))).catalog.revision("auto"))
    seen.add(Intake(router="mine:classify").catalog.revision("auto"))
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
        seen.add(Intake(router_file=str(tmp_path / name)).catalog.revision("auto"))
    seen.add(Intake(replace(FLEET, local_scopes=frozenset({"hr"}))).catalog.revision("auto"))
    assert None not in seen
    assert len(seen) == 9
    assert Intake().catalog.revision("auto") == intake.catalog.revision("auto")


def test_the_table_for_callers_has_every_name(intake: Intake) -> None:
    """So that they look into the cache by what they call it."""
    table = intake.catalog.table()
    assert table["default"] == "small:1b"
    assert sorted(table["models"]) == sorted(EVERYTHING)
    assert table["models"]["big:latest"] == table["models"]["large:latest"]


def test_a_look_shows_each_engine(intake: Intake) -> None:
    """With what it had when it was last there; a probed one is not waited for."""
    looks = EngineLooks(intake.catalog, intake.served, intake.breakers)
    assert [one.presence.reachable for one in looks.all()] == [True, True]
    intake.away.leave()
    intake.breakers.trip("away")
    home, away = [one.presence for one in looks.all()]
    assert (home.reachable, home.models) == (True, ["small:1b", "tiny:1b"])
    assert (away.reachable, away.version, away.models) == (False, None, ["large:latest"])


def test_an_engine_that_has_never_answered_has_what_its_file_lists() -> None:
    """A worker that starts while it is away: jobs for its models wait for it, and do not fail."""
    intake = Intake()
    intake.away.leave()
    looks = EngineLooks(intake.catalog, intake.served, intake.breakers)
    _, away = [one.presence for one in looks.all()]
    assert (away.reachable, away.models) == (False, ["large:latest"])
    intake.away.away = None


def test_who_answers_that_it_is_busy_is_not_away(intake: Intake) -> None:
    """A provider may bound even this question; what it had is still served."""
    looks = EngineLooks(intake.catalog, intake.served, intake.breakers)
    looks.all()
    intake.engines.members[1].forget()
    intake.away.away = OllamaBusy("429")
    _, away = looks.all()
    assert (away.presence.reachable, away.presence.notes) == (True, ["429"])
    assert away.presence.models == ["large:latest"]
    assert not intake.breakers.is_away("big")
    assert intake.now() == EVERYTHING


def test_no_job_waits_for_a_look_at_an_engine_that_is_away(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The breaker looks. A digest is not known meanwhile; a route goes on without its remote
    model, and shares and keeps answers as before."""
    looks: list[str] = []
    for member in intake.engines.members:
        monkeypatch.setattr(member, "known_models", partial(_noted, looks, member))
    intake.away.leave()
    assert intake.breakers.is_away("big")
    intake.catalog.note_away("home")
    known = intake.catalog.revision("auto")
    assert known == Intake().catalog.revision("auto")
    assert looks == ["home"]
    intake.home.leave()
    assert intake.breakers.is_away("local")
    assert intake.catalog.revision("auto") is None
    assert looks == ["home"]


def test_an_engine_that_leaves_as_it_returns_is_not_forgotten(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    """Nobody would look at it again: its answers would be kept no more."""
    breakers, note_back = intake.breakers, intake.catalog.note_back

    def leaving_again(engine: str) -> None:
        note_back(engine)
        if not breakers._lock.locked():  # a job's error comes just now
            breakers.trip(engine)

    monkeypatch.setattr(intake.catalog, "note_back", leaving_again)
    breakers.trip("home")
    wait_until(lambda: not breakers.away, "it is back")
    assert intake.catalog.revision("local") is not None


def _noted(looks: list[str], member: Member) -> list[Model]:
    looks.append(member.name)
    return member.models()
