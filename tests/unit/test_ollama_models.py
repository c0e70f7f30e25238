"""What an Ollama says of its models arrives at clients of ours as it was said, through Redis."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ollama import ProcessResponse

from local_llm_service.producers.http.ollama import models
from local_llm_service.worker.engine.ollama.model_facts import facts_in, loaded_in
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.store.presence import Presence

WIRE = Path(__file__).parents[1] / "wire"
#: Only 0.33 has these, and they follow from the others.
NEWER = {"capabilities", "context_length", "embedding_length"}


def said(name: str) -> Any:
    """A recorded reply."""
    return json.loads((WIRE / f"{name}.json").read_text())["response"]["body"]


def row_of(folder: str) -> dict[str, Any]:
    """The model `smollm2:135m` as callers get it from a worker's presence."""
    (listed,) = [one for one in said(f"{folder}tags")["models"] if one["name"] == "smollm2:135m"]
    facts = facts_in(said(f"{folder}show"))
    loaded = loaded_in(ProcessResponse(**said(f"{folder}ps_loaded")))["smollm2:135m"]
    model = Model(
        name=listed["name"],
        digest=listed["digest"],
        size_bytes=listed["size"],
        context_tokens=facts.context_tokens,
        modified_at=listed["modified_at"],
        facts=facts,
        loaded=loaded,
    )
    worker = Presence(
        name="w",
        slots=1,
        running=0,
        model="smollm2:135m",
        ollama_host="",
        ollama_version="0.33.0",
        ollama_reachable=True,
        cache_enabled=True,
        models=[model],
    )
    (read,) = Presence.model_validate_json(worker.model_dump_json()).models
    return {**asdict(read), "num_ctx": 8192, "default": True, "workers": ["w"]}


@pytest.mark.parametrize("folder", ["", "0.24/"])
def test_a_model_is_listed_as_ollama_lists_it(folder: str) -> None:
    """Also where an older Ollama says less; `/api/show` of both has the rest."""
    (theirs,) = [one for one in said(f"{folder}tags")["models"] if one["name"] == "smollm2:135m"]
    ours = models.listed(row_of(folder))
    assert ours["capabilities"] == ["completion"]
    assert ours["details"]["embedding_length"] == 576
    kept = {name: value for name, value in ours.items() if name not in NEWER}
    details = {name: one for name, one in ours["details"].items() if name not in NEWER}
    assert kept | {"details": details} == {
        **{name: value for name, value in theirs.items() if name not in NEWER},
        "details": {name: one for name, one in theirs["details"].items() if name not in NEWER},
    }


@pytest.mark.parametrize("folder", ["", "0.24/"])
def test_a_model_is_shown_as_ollama_shows_it(folder: str) -> None:
    """But for its template, parameters and tensors, which no worker publishes."""
    theirs, ours = said(f"{folder}show"), models.shown(row_of(folder))
    assert list(ours) == list(theirs)
    assert ours["capabilities"] == theirs["capabilities"]
    # Of 0.24 it is the model's file, which is nobody's business.
    assert ours["details"] == {**theirs["details"], "parent_model": ""}
    assert ours["model_info"] == {
        name: value for name, value in theirs["model_info"].items() if name in ours["model_info"]
    }
    assert len(ours["model_info"]) == 4


@pytest.mark.parametrize("folder", ["", "0.24/"])
def test_a_model_in_memory_is_told_as_ollama_tells_it(folder: str) -> None:
    """Python keeps microseconds of a time."""
    (theirs,) = said(f"{folder}ps_loaded")["models"]
    ours = models.in_memory(row_of(folder))
    assert ours.pop("expires_at")[:26] == theirs.pop("expires_at")[:26]
    assert ours == theirs


def test_a_file_that_says_nothing_is_a_model_all_the_same() -> None:
    """Whatever answers: nothing of another type is taken over."""
    for answer in (None, [], {}, {"model_info": 1, "details": [], "capabilities": {"a": 1}}):
        facts = facts_in(answer)
        assert (facts.context_tokens, facts.details, facts.capabilities) == (None, {}, [])
    odd = {"model_info": {"general.architecture": "a", "a.context_length": True}}
    assert facts_in(odd | {"capabilities": [1, "tools"]}).capabilities == ["tools"]
    assert facts_in(odd).context_tokens is None


@pytest.mark.parametrize(
    ("versions", "lowest"),
    [(["0.33.0", "0.9.1"], "0.9.1"), (["0.24.0-rc1", "0.24.1"], "0.24.0-rc1"), (["x"], "x")],
)
def test_the_oldest_version_speaks_for_all(versions: list[str], lowest: str) -> None:
    assert models.oldest(versions) == lowest
