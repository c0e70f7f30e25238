"""The set `compaction` on a kit of one conversation: budgets in characters, updates, survival."""

from __future__ import annotations

import asyncio
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.frame.data import Data, DataMissing
from evals.frame.eval_set import Spent
from evals.sets.compaction import RESOLVED, SET, STALE, SURVIVAL

KIT = {
    "corpus": """
from types import SimpleNamespace as S
def build_random_session(seed):
    turn = S(role="user", text="The port is 8015. " * 20)
    canary = S(id="a", required_tokens=("8015",), superseded_tokens=("8000",))
    return S(transcript=lambda: [turn]), [canary]
""",
    "semantic_corpus": """
from compaction_kit.corpus import build_random_session
def build_semantic_session(seed):
    return (*build_random_session(seed), {"conflicts": ["a"]})
build_semantic_heldout_session = build_semantic_session
""",
    "semantic": "class SemanticChecklistCompactor: pass",
    "probes": """
from types import SimpleNamespace as S
class BehaviorProbe:
    def probe(self, canary, text):
        return S(survived=all(one in text for one in canary.required_tokens))
""",
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A kit in a wheel that nobody installed."""
    for name in [one for one in sys.modules if one.startswith("compaction_kit")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), *sys.path])
    with zipfile.ZipFile(tmp_path / "compaction_conformance_kit-0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("compaction_kit/__init__.py", "")
        for name, text in KIT.items():
            wheel.writestr(f"compaction_kit/{name}.py", text)
    yield Data([tmp_path])  # type: ignore[misc]
    for name in [one for one in sys.modules if one.startswith("compaction_kit")]:
        del sys.modules[name]


def test_the_longest_answer_that_keeps_the_characters_counts(data: Data) -> None:
    """A first try that is too long is corrected, and is not what is judged."""
    item = next(iter(SET.items(data)))
    said = iter(["The port is 8000, and that is a long story. " * 9, "Port 8015 it is."])
    targets: list[int] = []

    async def ask(kind: str, **arguments: Any) -> Any:
        targets.append(arguments["target_tokens"])
        messages = [{"role": "user", "content": next(said, "Port 8015 is it, and 8000 is not.")}]
        return SimpleNamespace(answer=SimpleNamespace(messages=messages), spent=Spent(1, 1, 1.0))

    async def count(text: str) -> int:
        return len(text)

    here: Any = SimpleNamespace(ask=ask, plain=SimpleNamespace(count=count))
    outcome = asyncio.run(SET.ours(here, item))
    assert targets[0] > targets[1]
    assert len(outcome.text) <= len(item.data[0].text) * 0.1
    assert outcome.text == "Port 8015 is it, and 8000 is not."
    assert [outcome.scores[name].points for name in (SURVIVAL, RESOLVED, STALE)] == [1, 0, 1]
    assert outcome.spent.prompt_tokens == len(targets)


def test_a_kit_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compaction_kit.nowhere", None)
    with pytest.raises(DataMissing, match="pip install --no-deps compaction-conformance-kit"):
        Data([tmp_path]).module("compaction_kit.nowhere", "compaction-conformance-kit")
