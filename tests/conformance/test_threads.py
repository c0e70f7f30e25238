"""Any thread may call, many at once, and each gets its own answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.prompt import Completion
from tests.conformance.calls import SOON, ask, prompt
from tests.conformance.subject import Scene, Scripted, Subject


def test_many_threads_ask_at_once(scripted: Scripted, engine: Engine) -> None:
    """All requests are at the server together, and no text strays into another's."""
    many = 24
    scripted.play(Scene(pause_seconds=0.02))
    texts: dict[int, list[str]] = {}
    together = threading.Barrier(many)

    def one(number: int) -> Completion:
        heard = texts.setdefault(number, [])
        together.wait(SOON)
        return ask(engine, scripted, prompt(f"Question {number}"), on_text=heard.append)

    with ThreadPoolExecutor(many) as pool:
        completions = list(pool.map(one, range(many)))
    assert {completion.text for completion in completions} == {"".join(Scene().pieces)}
    assert {tuple(heard) for heard in texts.values()} == {Scene().pieces}
    questions = [one.body["messages"][-1]["content"] for one in scripted.heard()]
    assert sorted(questions) == sorted(f"Question {number}" for number in range(many))


def test_questions_and_prompts_go_side_by_side(subject: Subject, engine: Engine) -> None:
    """Presence asks for models while slots work."""
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, engine, subject) for _ in range(2)]
        told = [pool.submit(engine.models) for _ in range(2)]
        first, second = (one.result(SOON).text for one in asked)
        assert first == second != ""
        assert all(subject.model in {model.name for model in one.result(SOON)} for one in told)
