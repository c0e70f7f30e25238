"""Reasons close the gate before a worker's take; it is open when there is no reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest

from local_llm_service.worker.intake.gate import Gate, Reason


def test_a_new_worker_takes_jobs() -> None:
    """The gate is open until something closes it."""
    gate = Gate()
    assert gate.is_open
    assert gate.reasons == []


@pytest.mark.parametrize("reason", Reason)
def test_one_reason_closes_the_gate_and_its_end_opens_it(reason: Reason) -> None:
    """Any single reason is enough."""
    gate = Gate()
    gate.close(reason)
    assert not gate.is_open
    assert gate.reasons == [reason.value]
    gate.open(reason)
    assert gate.is_open
    assert gate.reasons == []


@pytest.mark.parametrize("order", list(permutations(Reason)))
def test_the_gate_opens_when_the_last_reason_ends_in_any_order(order: tuple[Reason]) -> None:
    """An Ollama that comes back must not end a drain or an operator's pause."""
    gate = Gate()
    for reason in Reason:
        gate.close(reason)
    for reason in order:
        assert not gate.is_open
        gate.open(reason)
    assert gate.is_open


def test_a_reason_counts_once() -> None:
    """The first successful probe opens the gate, however often Ollama failed before."""
    gate = Gate()
    for _ in range(3):
        gate.close(Reason.OLLAMA)
    gate.open(Reason.OLLAMA)
    assert gate.is_open


def test_only_a_change_is_reported() -> None:
    """A worker logs once that it stops taking jobs, and once that it goes on."""
    gate = Gate()
    assert [gate.close(Reason.PAUSED), gate.close(Reason.PAUSED)] == [True, False]
    assert gate.close(Reason.OLLAMA), "another reason is a change too"
    assert [gate.open(Reason.PAUSED), gate.open(Reason.PAUSED)] == [True, False]


def test_the_end_of_a_reason_that_was_never_set_changes_nothing() -> None:
    """This holds for an open gate and for one that another reason keeps closed."""
    gate = Gate()
    assert not gate.open(Reason.OLLAMA)
    assert gate.is_open
    gate.close(Reason.DRAINING)
    assert not gate.open(Reason.OLLAMA)
    assert gate.reasons == ["draining"]


def test_reasons_are_a_sorted_copy() -> None:
    """Presence shows them; changing the returned list does not change the gate."""
    gate = Gate()
    for reason in (Reason.PAUSED, Reason.DRAINING, Reason.OLLAMA):
        gate.close(reason)
    shown = gate.reasons
    assert shown == ["draining", "ollama", "paused"]
    shown.clear()
    assert not gate.is_open


def test_each_worker_has_a_gate_of_its_own() -> None:
    """Gates share no reasons."""
    one, other = Gate(), Gate()
    one.close(Reason.PAUSED)
    assert other.is_open


class _SlowSet(set[Reason]):
    """Lets other threads run at each read of the set, so that a missing lock always shows."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__(reasons)
        self.being_read = threading.Event()

    def __contains__(self, reason: object) -> bool:
        found = super().__contains__(reason)
        time.sleep(0.005)
        return found

    def __iter__(self) -> Iterator[Reason]:
        self.being_read.set()
        for reason in super().__iter__():
            time.sleep(0.005)
            yield reason


@pytest.mark.parametrize("closes", [True, False])
def test_one_of_many_threads_makes_the_change(closes: bool) -> None:
    """Ollama's watcher, the drain and control commands run in threads of their own."""
    gate = Gate()
    gate._reasons = _SlowSet() if closes else _SlowSet(Reason.OLLAMA)
    move = gate.close if closes else gate.open
    start = threading.Barrier(8)

    def at_once(_: int) -> bool:
        start.wait(10)
        return move(Reason.OLLAMA)

    with ThreadPoolExecutor(8) as pool:
        changes = list(pool.map(at_once, range(8)))
    assert sorted(changes) == [False] * 7 + [True]
    assert gate.is_open is not closes


def test_reasons_can_be_read_while_others_change_them() -> None:
    """The reader sees the reasons of one moment."""
    gate = Gate()
    gate._reasons = slow = _SlowSet(Reason.DRAINING, Reason.PAUSED)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: gate.reasons)
        assert slow.being_read.wait(10)
        gate.close(Reason.OLLAMA)
        assert reading.result(10) in (["draining", "paused"], ["draining", "ollama", "paused"])
    assert gate.reasons == ["draining", "ollama", "paused"]
