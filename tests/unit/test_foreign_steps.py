"""A step of another app gets its queue in the caller's process, from that app's own routes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signature
from kombu import Exchange, Queue
from kombu.utils.json import dumps

from local_llm_service import tasks
from local_llm_service.worker.celery_ext.default_queue import DefaultQueue
from local_llm_service.worker.celery_ext.foreign_steps import (
    COUNTED,
    ELSEWHERE,
    has_foreign_part,
    resolve,
)
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.task_names import is_foreign


def same(x: object) -> object:
    """The work of all tasks here, which nobody runs."""
    return x


@pytest.fixture(scope="module")
def mine() -> Celery:
    """Another app, with every kind of route."""
    app = Celery("mine", broker="memory://", set_as_current=False, fixups=[])
    app.conf.task_routes = {
        "their.routed": "routes",
        "their.dict.*": {"queue": "globbed", "priority": 5},
        "their.exchange": {
            "exchange": "media",
            "exchange_type": "topic",
            "routing_key": "video.hd",
        },
    }
    for name in ("plain", "routed", "dict.one", "exchange"):
        app.task(same, name=f"their.{name}", shared=False)
    app.finalize()
    return app


def resolved(step: Any, word: str = "link") -> dict[str, Any]:
    """The options of a step, as they are in a message."""
    options: dict[str, Any] = {word: [step]}
    resolve(options, by_other_app=False)
    found: dict[str, Any] = json.loads(dumps(options))[word][0]["options"]  # type: ignore[no-untyped-call]
    return found


@pytest.mark.parametrize("word", ["link", "link_error", "chain", "chord"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {"queue": "celery"}),
        ("routed", {"queue": "routes"}),
        ("dict.one", {"queue": "globbed", "priority": 5}),
    ],
)
def test_a_step_has_the_queue_of_its_apps_routes(
    mine: Celery, name: str, options: dict[str, Any], word: str
) -> None:
    """In whatever place of the canvas it stands."""
    assert resolved(mine.tasks[f"their.{name}"].s(), word) == options


def test_an_exchange_is_kept(mine: Celery) -> None:
    """A worker publishes there what the route sends there."""
    options = resolved(mine.tasks["their.exchange"].s())
    assert (options["exchange"], options["exchange_type"]) == ("media", "topic")
    assert options["routing_key"] == "video.hd"


@pytest.mark.parametrize("queue", ["mine", Queue("mine", Exchange("mine"), routing_key="mine")])
def test_a_queue_of_the_step_goes_first(mine: Celery, queue: Any) -> None:
    """As a name, because a message holds only text."""
    assert resolved(mine.tasks["their.routed"].s().set(queue=queue)) == {"queue": "mine"}


def test_the_app_of_the_canvas_routes_what_is_only_a_name(mine: Celery) -> None:
    """A signature by name has no app of its own."""
    inner = chain(signature("their.routed"), signature("their.plain"), app=mine)
    options: dict[str, Any] = {"link": [inner]}
    resolve(options, by_other_app=False)
    assert [step.options["queue"] for step in inner.tasks] == ["routes", "celery"]


def test_a_name_that_no_app_knows_keeps_none() -> None:
    """A worker sends it to Celery's own default queue."""
    assert resolved(signature("their.routed")) == {}


def test_nested_canvases_are_resolved(mine: Celery) -> None:
    """Members of groups, headers and bodies of chords, and what is linked to them."""
    routed, plain = mine.tasks["their.routed"], mine.tasks["their.plain"]
    body = routed.s()
    body.link(plain.s())
    flow = chord(group(plain.s(), tasks.generate.s("x")), body)
    resolve({"chain": [flow]}, by_other_app=False)
    ours = [one for one in flow.tasks if one.task == "llm.generate"]
    assert [one.options["queue"] for one in flow.tasks] == ["celery", "llm.high"]
    assert ours
    assert flow.body.options["queue"] == "routes"
    assert flow.body.options["link"][0].options["queue"] == "celery"


def test_a_queue_that_the_app_does_not_have_is_said_early(mine: Celery) -> None:
    """Nothing is sent, and the error names the task."""
    strict = Celery("strict", broker="memory://", set_as_current=False, fixups=[])
    strict.conf.update(
        task_create_missing_queues=False,
        task_queues=[Queue("there")],
        task_routes={"their.lost": "nowhere"},
    )
    strict.task(same, name="their.lost", shared=False)
    with pytest.raises(InvalidRequest, match=r"their\.lost"):
        resolve({"link": [strict.tasks["their.lost"].s()]}, by_other_app=False)


def test_a_chord_that_another_app_sends_says_where_it_is_counted(mine: Celery) -> None:
    """Also where its part is a chain of ours."""
    body = mine.tasks["their.plain"].s()
    options = {"chord": body, "chain": [tasks.generate.s().set(chord=copy.copy(body))]}
    resolve(options, by_other_app=True)
    assert body[COUNTED] == ELSEWHERE
    assert options["chain"][0].options["chord"][COUNTED] == ELSEWHERE


@pytest.mark.parametrize(
    ("name", "kwargs", "foreign"),
    [
        ("llm.generate", {}, False),
        ("celery.chord", {}, False),
        ("celery.map", {"task": {"task": "llm.generate"}}, False),
        ("celery.starmap", {"task": {"task": "their.store"}}, True),
        ("their.store", {}, True),
        ("llm", {}, True),
    ],
)
def test_whose_task_it_is(name: str, kwargs: dict[str, Any], foreign: bool) -> None:
    """By its name; Celery's map is whose its inner task is."""
    assert is_foreign(name, kwargs) is foreign


@pytest.mark.parametrize(
    ("signature_of", "queue"),
    [
        (lambda: tasks.generate.s("x"), "llm.high"),
        (lambda: tasks.summarize.s(context="x", priority="low"), "llm.low"),
        (lambda: tasks.summarize.s(context="x").set(queue="llm.high"), "llm.high"),
    ],
)
def test_a_signature_of_ours_names_its_queue(signature_of: Any, queue: str) -> None:
    """Another app's worker that sends it would use its own default queue."""
    made = signature_of()
    assert made.options["queue"] == made.clone().options["queue"] == queue


def test_a_default_queue_survives_a_clone_as_one() -> None:
    """So that a priority of the call still goes before it in this process."""
    assert isinstance(tasks.generate.s("x").clone().options["queue"], DefaultQueue)


def test_a_foreign_part_is_seen_in_any_nesting(mine: Celery) -> None:
    """By the handles of a chord's parts: a chain counts as its last step."""
    ours, theirs = tasks.generate.s("x"), mine.tasks["their.plain"].s()
    last_ours = chain(theirs, ours).freeze()
    last_theirs = chain(ours, theirs).freeze()
    assert not has_foreign_part([ours.freeze(), last_ours])
    assert has_foreign_part([ours.freeze(), last_theirs])
    assert has_foreign_part([signature("their.plain", app=tasks.generate.app).freeze()])
