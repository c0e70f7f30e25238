"""The window of a bulk call: what is submitted next, and what is yielded next."""

from __future__ import annotations

import random
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm_service import tasks
from local_llm_service.producers.bulk_items import arguments_of, check_map
from local_llm_service.producers.bulk_window import Window, window_for
from local_llm_service.worker.errors import InvalidRequest, ServiceError


async def all_later() -> AsyncIterator[str]:
    """Items that have to be awaited."""
    yield "item"


def outcome(index: int) -> ServiceError:
    """An outcome that tells its item."""
    return ServiceError(str(index))


@given(
    size=st.integers(1, 5),
    count=st.integers(0, 40),
    ordered=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
def test_every_item_is_yielded_once_and_the_window_holds(
    size: int, count: int, ordered: bool, chance: random.Random
) -> None:
    """Whatever the order in which jobs end; in order where that was asked for."""
    window, running, given_out = Window(size, ordered=ordered), list[int](), list[int]()
    begun = 0
    while begun < count or running or len(given_out) < count:
        while begun < count and window.has_room:
            running.append(window.begin())
            begun += 1
        assert window.in_flight == len(running) <= size
        assert begun - len(given_out) <= 4 * size
        while (found := window.next()) is not None:
            given_out.append(found[0])
            assert found[1].message == str(found[0])
        if running:
            index = running.pop(chance.randrange(len(running)))
            window.end(index, outcome(index))
        else:
            assert window.has_room
    assert sorted(given_out) == list(range(count))
    assert not ordered or given_out == sorted(given_out)


def test_a_slow_first_item_holds_up_the_order_but_not_the_slots() -> None:
    """Later items go on; they are kept until its outcome is there, and only so many."""
    window = Window(2, ordered=True)
    first = window.begin()
    later = 0
    while window.has_room:
        index = window.begin()
        window.end(index, outcome(index))
        later += 1
        assert window.next() is None
    assert later == 7
    window.end(first, outcome(first))
    assert [found[0] for found in iter(window.next, None) if found] == list(range(8))


def test_an_item_is_the_first_argument_or_all_of_them() -> None:
    """A conversation is a list, and so a value."""
    kind = tasks.generate.kind
    assert arguments_of(kind, "Hi") == {"prompt": "Hi"}
    assert arguments_of(kind, {"prompt": "Hi", "max_tokens": 9}) == {
        "prompt": "Hi",
        "max_tokens": 9,
    }
    turns = [{"role": "user", "content": "Hi"}]
    assert arguments_of(tasks.compress.kind, turns) == {"messages": turns}


@pytest.mark.parametrize(
    ("kind", "window", "options", "says"),
    [
        ("", None, {}, "kind"),
        ("Client", None, {}, "kind"),
        ("llm.generate", None, {}, "kind"),
        ("__all__", None, {}, "kind"),
        ("generate", 0, {}, "window"),
        ("generate", -1, {}, "window"),
        ("generate", 1.5, {}, "window"),
        ("generate", True, {}, "window"),
        ("generate", None, {"task_id": "a"}, "task_id"),
        ("generate", None, {"max_token": 5}, "max_token: generate has no such"),
        ("structured_output", None, {"json_schema": {}}, "json_schema"),
    ],
)
def test_what_no_bulk_call_can_do_is_refused(
    kind: str, window: Any, options: dict[str, Any], says: str
) -> None:
    """Before anything is read or queued."""
    with pytest.raises(InvalidRequest, match=says):
        check_map(kind, [], (Iterable,), window, options)


@pytest.mark.parametrize(
    "items", ["one text", b"one", {"prompt": "one call"}, 5, None, all_later()]
)
def test_what_is_not_many_items_is_refused(items: Any) -> None:
    """A text would be asked for letter by letter; a thread cannot await items."""
    with pytest.raises(InvalidRequest, match="items: must be many"):
        check_map("generate", items, (Iterable,), None, {})


def test_arguments_and_options_of_all_items_are_admitted() -> None:
    """A schema for all, for example, by the name that callers know."""
    options = {"schema": {}, "priority": "low", "cache": False}
    check_map("structured_output", all_later(), (Iterable, AsyncIterable), 5, options)


def test_the_window_is_twice_the_slots() -> None:
    """Also without any worker something is queued."""
    assert [window_for(slots) for slots in (0, 1, 4)] == [2, 2, 8]
