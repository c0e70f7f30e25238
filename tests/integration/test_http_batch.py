"""A batch of HTTP whose processes are killed: what `make demo-batch` shows, in small."""

from __future__ import annotations

import time
from collections import Counter

from benchmarks.chaos.cases import http_batch
from benchmarks.chaos.cases.http_batch import Size
from benchmarks.chaos.site import Site
from local_llm_service.worker.embedded.processes.ports import free_port


def test_a_batch_is_complete_whatever_is_killed() -> None:
    """HTTP, a worker and Redis die by SIGKILL: each line is written once, no chat ends in silence.

    `python -m benchmarks.chaos http_batch` kills more, and longer.
    """
    size = Size(40, 3, (0.4, 0.8), (0.3, 0.6), lease_seconds=3)
    with Site(http_batch.plan_of(free_port(), size)) as site:
        began = time.monotonic()
        found = http_batch.play(site, size, lambda _: None)
    assert found.kills == {"http": 1, "worker": 1, "redis": 1}
    assert found.batch.status == "completed"
    lines = Counter(one["custom_id"] for one in found.output)
    assert lines == {f"line-{number}": 1 for number in range(40)}
    assert found.errors == []
    assert found.chats["half"] == 0
    assert found.chats["answer"] > 0
    assert time.monotonic() - began < 60
