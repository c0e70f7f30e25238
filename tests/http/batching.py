"""What tests of batches share: lines, files, and a batch run to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.conftest import wait_until
from tests.http.conftest import HttpSite

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


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


def begin(http: HttpSite, content: bytes, endpoint: str = CHAT, **options: Any) -> Any:
    """A batch of a file."""
    client = http.openai()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    given = {"completion_window": "24h", **options}
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, **given)


def run(http: HttpSite, content: bytes, endpoint: str = CHAT, **options: Any) -> Any:
    """A batch of a file, run to its end."""
    return until_ended(http, begin(http, content, endpoint, **options).id)


def until(http: HttpSite, batch_id: str, status: str) -> Any:
    """The batch, once it has this status."""
    client = http.openai()

    def look() -> Any:
        found = client.batches.retrieve(batch_id)
        assert found.status == status or found.status not in ENDED, found
        return found if found.status == status else None

    return wait_until(look, f"the batch is {status}")


def until_ended(http: HttpSite, batch_id: str) -> Any:
    """The batch, once it has ended."""
    client = http.openai()

    def look() -> Any:
        found = client.batches.retrieve(batch_id)
        return found if found.status in ENDED else None

    return wait_until(look, "the batch ends")
