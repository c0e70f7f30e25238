"""The official clients against the embedded stack: a real model, Redis, a worker, HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.calls import OLLAMA, OPENAI, Site


@pytest.mark.parametrize("call", OPENAI.values(), ids=OPENAI)
def test_openai(site: Site, call: Callable[[Site], Any]) -> None:
    assert call(site)


@pytest.mark.parametrize("call", OLLAMA.values(), ids=OLLAMA)
def test_ollama(site: Site, call: Callable[[Site], Any]) -> None:
    assert call(site)
