"""Slots whose prompts nobody waits for any more."""

from __future__ import annotations

import asyncio

import pytest

from local_llm_service.worker.engine import abandoned
from local_llm_service.worker.engine.abandoned import AbandonedPrompts


def test_a_server_that_never_says_anything_keeps_no_slot_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its host has lost its power, and no packet tells of it."""
    monkeypatch.setattr(abandoned, "LONGEST_SECONDS", 0.01)
    freed: list[int] = []

    async def run() -> None:
        prompts, is_free = AbandonedPrompts("the engine", ()), asyncio.Event()
        prompts.on_free(lambda: (freed.append(prompts.count), is_free.set()))
        prompts.probe(asyncio.sleep(3600))
        assert prompts.count == 1
        await is_free.wait()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert freed == [0]
