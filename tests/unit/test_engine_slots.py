"""A wait for a slot of an engine that ends early: nothing was sent, and the error says so."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from local_llm_service.worker.engine.slots import EngineSlots
from local_llm_service.worker.errors import DeadlineExceeded
from local_llm_service.worker.fleet.parts import FleetEngine
from local_llm_service.worker.lease.in_flight import InFlightDelivery, Interrupted
from local_llm_service.worker.store.outcomes import Delivery


def in_flight() -> InFlightDelivery:
    """A delivery that can be stopped."""
    counts: dict[str, Any] = {"attempts": 0, "crashes": 0, "cancelled": False}
    one = Delivery("llm.normal", "", "id", "tag", "token", None, 60.0, **counts)
    return InFlightDelivery(one)


def test_a_call_that_gets_no_slot_was_not_sent() -> None:
    """Whether its time is over or it is to stop; an error in the slot says nothing of the kind."""
    slots = EngineSlots(FleetEngine("one", "ollama", "http://127.0.0.1"), lambda: 0)
    waiting = in_flight()
    with slots.taken("large", 60, None):
        with pytest.raises(DeadlineExceeded) as late, slots.taken("large", 0, None):
            pass
        stop = Interrupted("the worker is shutting down")
        threading.Timer(0.01, waiting.request_stop, [stop]).start()
        with pytest.raises(Interrupted) as stopped, slots.taken("large", 60, waiting):
            pass
    assert (late.value.was_sent, stopped.value.was_sent) == (False, False)
    with pytest.raises(DeadlineExceeded) as sent, slots.taken("large", 60, None):
        raise DeadlineExceeded("midway")
    assert sent.value.was_sent
