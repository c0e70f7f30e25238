"""Files and batches, by the official client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import ContextOverflow
from tests.conftest import wait_until
from tests.http.conftest import HttpSite

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture(autouse=True)
def files_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FILES_DIR of this test alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "files"


def line(custom_id: str, text: str = "", url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line of a batch."""
    asked = {"messages": [{"role": "user", "content": text or f"Say {custom_id}."}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def jsonl(*lines: Mapping[str, Any]) -> bytes:
    """Lines as a file."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)


def read(http: HttpSite, file_id: str) -> dict[str, Any]:
    """The lines of a file by custom_id, each once."""
    text = http.openai().files.content(file_id).text
    lines = [json.loads(one) for one in text.splitlines()]
    found = {one["custom_id"]: one for one in lines}
    assert len(found) == len(lines)
    return found


def run(http: HttpSite, content: bytes, endpoint: str = CHAT, **options: Any) -> Any:
    """A batch of a file, run to its end."""
    client = http.openai()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )
    return until_ended(http, batch.id)


def until_ended(http: HttpSite, batch_id: str) -> Any:
    """The batch, once it has ended."""
    client = http.openai()

    def look() -> Any:
        found = client.batches.retrieve(batch_id)
        return found if found.status in ENDED else None

    return wait_until(look, "the batch ends")


def test_the_official_client_runs_a_batch(local_llm: LocalLLM, http: HttpSite) -> None:
    """Each line gets the object that the endpoint returns, once; failures are in their own file."""
    local_llm.fail(ContextOverflow)
    batch = run(http, jsonl(*(line(one) for one in "abc")), metadata={"of": "test"})
    assert batch.status == "completed", batch
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    assert batch.usage.total_tokens > 0
    assert batch.metadata == {"of": "test"}
    output = read(http, batch.output_file_id)
    errors = read(http, batch.error_file_id)
    assert sorted([*output, *errors]) == ["a", "b", "c"]
    for custom_id, one in output.items():
        assert one["response"]["status_code"] == 200
        body = one["response"]["body"]
        assert body["object"] == "chat.completion"
        assert f"Say {custom_id}." in body["choices"][0]["message"]["content"]
        assert body["service_tier"] == "flex"
    (failed,) = errors.values()
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert {job.priority for job in local_llm.submitted} == {"low"}
