"""Who may send a request while another model would have to be loaded."""

from __future__ import annotations

import asyncio

import pytest

from local_llm_service.worker.engine.ollama.model_turns import ModelTurns


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Requests:
    """Requests for models, each of which runs until it is ended."""

    def __init__(self, most: int) -> None:
        self.turns = ModelTurns(most)
        self.running: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def send(self, *names: str) -> None:
        """Each name is a model and a number: `a1`."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.ensure_future(self._run(name))
            await settle()

    async def end(self, *names: str) -> None:
        """Let these requests have their answer."""
        for name in names:
            self._ends[name].set()
            await settle()

    async def leave(self, name: str) -> None:
        """The caller of this one goes."""
        self._tasks[name].cancel()
        await settle()

    async def _run(self, name: str) -> None:
        async with self.turns.of(name[0]):
            self.running.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)


def test_a_request_for_another_model_waits_until_the_running_ones_have_ended() -> None:
    """One model at a time: b1 would make Ollama reload."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "a2", "b1")
        assert seen.running == ["a1", "a2"]
        await seen.end("a1")
        assert seen.running == ["a2"]
        await seen.end("a2")
        assert seen.running == ["b1"]

    asyncio.run(scene())


def test_a_waiting_request_is_not_overtaken() -> None:
    """Otherwise a stream of jobs for one model would keep all others away for ever."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "b1", "a2", "b2")
        assert seen.running == ["a1"]
        await seen.end("a1")
        assert seen.running == ["b1"]
        await seen.end("b1")
        assert seen.running == ["a2"]
        await seen.end("a2")
        assert seen.running == ["b2"]

    asyncio.run(scene())


def test_a_caller_that_leaves_while_it_waits_lets_the_next_one_go() -> None:
    """b1 no longer needs its model, so a2 has nothing to wait for."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "b1", "a2")
        await seen.leave("b1")
        assert seen.running == ["a1", "a2"]
        await seen.end("a1", "a2")
        await seen.send("b2")
        assert seen.running == ["b2"]

    asyncio.run(scene())


def test_a_caller_that_leaves_at_the_moment_of_its_turn_gives_it_back() -> None:
    """The turn was given and nobody takes it."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "b1")
        seen._ends["a1"].set()
        await asyncio.sleep(0)  # a1 ends and b1 is admitted, and has not run yet
        await seen.leave("b1")
        await seen.send("a2")
        assert seen.running == ["a2"]

    asyncio.run(scene())


def test_callers_that_leave_at_one_moment_leave_nothing_behind() -> None:
    """All that a worker runs is stopped at once when Redis was away for most of a lease."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "b1", "a2", "c1")
        tasks = [seen._tasks[name] for name in ("a1", "b1", "a2")]
        for task in tasks:
            task.cancel()
        await settle()
        assert all(task.cancelled() for task in tasks)
        assert seen.running == ["c1"]
        await seen.end("c1")
        await seen.send("b2")
        assert seen.running == ["b2"]

    asyncio.run(scene())


@pytest.mark.parametrize(("most", "running"), [(0, ["a1", "b1", "c1"]), (2, ["a1", "b1"])])
def test_the_setting_says_how_many_models_there_are_at_once(most: int, running: list[str]) -> None:
    """0: Ollama decides, and nobody waits here."""

    async def scene() -> None:
        seen = Requests(most)
        await seen.send("a1", "b1", "c1")
        assert seen.running == running

    asyncio.run(scene())


def test_a_model_that_is_held_stays_loaded() -> None:
    """A probe is a request of its own, though the one before it has gone."""

    async def scene() -> None:
        seen = Requests(most=1)
        await seen.send("a1", "b1")
        let_go = seen.turns.hold("a")
        await seen.end("a1")
        assert seen.running == []
        let_go()
        await settle()
        assert seen.running == ["b1"]

    asyncio.run(scene())
