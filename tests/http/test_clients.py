"""Every call of the official clients that has to work here; what each one means is tested aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.clients.calls import OLLAMA, OPENAI, Site
from tests.http.conftest import HttpSite

MODEL = "scripted:1b"


@pytest.mark.parametrize("calls", [OPENAI, OLLAMA], ids=["openai", "ollama"])
def test_every_call_works(http: HttpSite, calls: Mapping[str, Callable[[Site], Any]]) -> None:
    """In one test, as a server for each would take longer than all calls."""
    failed = {}
    with Site(http.url, MODEL, MODEL, MODEL) as site:
        for name, call in calls.items():
            try:
                if not call(site):
                    failed[name] = "is not what was asked for"
            except Exception as error:  # noqa: BLE001  # told below, with those of the other calls
                failed[name] = f"{type(error).__name__}: {error}"[:300]
    assert failed == {}
