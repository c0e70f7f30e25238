"""What `local-llm batch --dry-run` counts."""

from __future__ import annotations

import sys
from typing import cast

import pytest

from local_llm_service.producers.batch.estimate import _characters
from local_llm_service.producers.batch.ledger import Entry
from local_llm_service.producers.batch.records import LineJob


def test_a_process_without_the_packages_of_a_worker_counts_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only workers have what cuts texts into sentences, and `[batch]` does not bring it."""
    talk = [{"role": "user", "content": "Ahoy there. " * 200}]
    arguments = {"messages": talk, "target_tokens": 50}
    job = LineJob(cast(Entry, None), "line 1", "id", arguments, "compress")
    with_prompt = _characters("compress", job)
    monkeypatch.setitem(sys.modules, "sentencex", None)
    assert 2400 < _characters("compress", job) < 3000
    assert with_prompt > 2400
