"""A job's record as Redis holds it."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from local_llm_service.worker.store.states import JobRecord, JobState
from tests.unit.test_scripts import EVERYTHING

FOUND = {
    "kind": "summarize",
    "queue": "llm.low",
    "state": "running",
    "nonce": "n",
    "put": "1",
    "submitted_ms": "1732460000000",
    "deadline_ms": "1732463600000",
    "by_name": "1",
    "canvas": "1",
    "fingerprint": "ab",
    "worker": "llm-1@host",
    "token": "17",
    "tag": "t",
    "starts": "2",
    "attempts": "1",
    "crashes": "1",
    "engine_deaths": "2",
    "cancelled": "1",
    "to_end": "1",
    "cancel_requested": "1",
    "caller_left": "1",
    "settled": "17",
    "model": "big:7b",
    "failed_by": "w1 w2",
    "given_up": "1",
    "stream": "1",
    "tenant": "a",
    "done": "3",
    "total": "12",
    "phase": "reading",
    "kept_steps": "3",
    "yields": "1",
    "run": "0123456789ab",
    "webhook": "job hooks.example https://hooks.example/x",
    "error": "timeout",
}


def test_a_record_is_read_with_its_types() -> None:
    """Redis holds only text."""
    record = JobRecord.of(FOUND)
    assert record is not None
    assert {field.name for field in fields(record)} == set(FOUND)
    assert record.state is JobState.RUNNING
    assert (record.submitted_ms, record.deadline_ms) == (1732460000000, 1732463600000)
    assert (record.starts, record.attempts, record.crashes) == (2, 1, 1)
    assert record.engine_deaths == 2
    assert record.put is record.by_name is record.canvas is record.cancelled is True
    assert record.to_end is record.cancel_requested is record.caller_left is True
    assert record.given_up is record.stream is True
    assert (record.model, record.failed_by) == ("big:7b", "w1 w2")
    assert record.tenant == "a"
    assert (record.token, record.settled, record.error) == ("17", "17", "timeout")
    assert (record.done, record.total, record.phase) == (3, 12, "reading")
    assert (record.kept_steps, record.yields) == (3, 1)
    assert record.run == "0123456789ab"
    assert record.webhook == "job hooks.example https://hooks.example/x"


def test_unwritten_fields_are_missing() -> None:
    """Flags are off, counts are 0, and other fields are None or empty."""
    record = JobRecord.of({"state": "queued"})
    assert record == JobRecord(state=JobState.QUEUED)
    assert record is not None
    assert (record.submitted_ms, record.token, record.settled, record.error) == (None,) * 4
    assert (record.starts, record.attempts, record.crashes) == (0, 0, 0)
    assert not any((record.put, record.canvas, record.cancelled, record.caller_left))


def test_a_message_was_put_or_taken() -> None:
    """For a job that another application put straight into our queue, only take knows."""
    assert not JobRecord(canvas=True).has_message
    assert JobRecord(put=True).has_message
    assert JobRecord(starts=1).has_message


def test_a_missing_hash_gives_no_record() -> None:
    """`HGETALL` of a missing key returns nothing."""
    assert JobRecord.of({}) is None


def test_fields_of_a_newer_version_are_ignored() -> None:
    """Workers of two versions share a Redis while one version replaces the other."""
    record = JobRecord.of({"state": "dreaming", "kind": "chat", "rank": "x"})
    assert record == JobRecord(kind="chat", state=JobState.UNKNOWN)


@pytest.mark.parametrize("field", [field.name for field in fields(JobRecord)])
def test_every_field_is_written_by_a_script(field: str) -> None:
    """A field that no script writes would always be missing."""
    write = re.compile(rf"'(?:HSET|HSETNX|HINCRBY)'[^()]*'{field}'")
    shared = re.compile(rf"raise_to\([^()]*'{field}'")
    assert any(write.search(text) or shared.search(text) for text in EVERYTHING.values())
