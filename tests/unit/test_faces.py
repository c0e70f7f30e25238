"""The two clients are one: the same methods with the same parameters; one kind is awaited."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from local_llm_service import AsyncClient, AsyncJob, Client, Job
from local_llm_service.producers.asks import Asks, Options
from local_llm_service.tasks.request import JobRequest

FACES = ((Client, AsyncClient), (Job, AsyncJob))
#: What says something else of the two, as an event loop has connections of its own.
OWN_DOCSTRINGS = {"close", "stream"}
#: Which parameter has another type in the two: an event loop's items may be awaited, too.
OWN_TYPES = {"map": "items"}
#: Not awaited: they ask nothing, or are looped over.
NOT_AWAITED = {"job", "stream", "map"}


def public(face: type) -> dict[str, Any]:
    """What callers see of a face."""
    return {name: value for name, value in vars(face).items() if not name.startswith("_")}


def ours(face: type) -> set[str]:
    """The names that a caller can use; `here` and the like are for this package."""
    return set(public(face)) - {"here", "leave_to_the_parent"}


METHODS = [
    (blocking, awaiting, name)
    for blocking, awaiting in FACES
    for name in sorted(ours(blocking) & ours(awaiting))
    if callable(public(blocking)[name])
]


@pytest.mark.parametrize(("blocking", "awaiting"), FACES)
def test_both_faces_have_the_same_names(blocking: type, awaiting: type) -> None:
    """Who knows one knows the other."""
    assert ours(blocking) == ours(awaiting)


@pytest.mark.parametrize(("blocking", "awaiting", "name"), METHODS)
def test_a_method_takes_the_same_in_both(blocking: type, awaiting: type, name: str) -> None:
    """Names, kinds, defaults and types of all parameters."""
    one, other = (inspect.signature(public(face)[name]) for face in (blocking, awaiting))
    types = [
        [(word, "" if word == OWN_TYPES.get(name) else str(given)) for word, given in taken.items()]
        for taken in (one.parameters, other.parameters)
    ]
    assert types[0] == types[1]
    assert next(iter(one.parameters)) == "self"


@pytest.mark.parametrize(("blocking", "awaiting", "name"), METHODS)
def test_a_method_says_the_same_in_both(blocking: type, awaiting: type, name: str) -> None:
    """And says something."""
    one, other = (public(face)[name] for face in (blocking, awaiting))
    assert one.__name__ == other.__name__ == name
    assert one.__doc__
    if name not in OWN_DOCSTRINGS:
        assert one.__doc__ == other.__doc__


@pytest.mark.parametrize(("blocking", "awaiting", "name"), METHODS)
def test_what_blocks_in_one_is_awaited_in_the_other(
    blocking: type, awaiting: type, name: str
) -> None:
    """And what asks nothing of Redis is neither."""
    assert not inspect.iscoroutinefunction(public(blocking)[name])
    assert inspect.iscoroutinefunction(public(awaiting)[name]) == (name not in NOT_AWAITED)


def test_a_kind_is_declared_once_and_shows_its_answer() -> None:
    """help() of a method shows what a caller gets, and bound methods lose only `self`."""
    for name in public(Asks):
        shown = inspect.signature(getattr(Client, name))
        assert [*shown.parameters] == [*inspect.signature(getattr(Asks, name)).parameters]
    assert inspect.signature(Client.summarize).return_annotation == "Job[SummarizeAnswer]"
    assert inspect.signature(AsyncClient.summarize).return_annotation == "AsyncJob[SummarizeAnswer]"
    assert inspect.signature(Job.status).return_annotation == "JobState"
    assert [*inspect.signature(Client().generate).parameters][:2] == ["prompt", "system_prompt"]


def test_the_options_are_those_of_every_request() -> None:
    """And the id that the caller chooses. Defaults stand in the request alone."""
    assert set(Options.__annotations__) == {*JobRequest.model_fields, "task_id"}
    for name in public(Asks):
        defaults = [
            one.default for one in inspect.signature(getattr(Asks, name)).parameters.values()
        ]
        assert set(defaults) <= {inspect.Parameter.empty, None}
