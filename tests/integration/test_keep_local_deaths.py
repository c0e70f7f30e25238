"""What is to stay at home stays there also when a worker dies over it, and when home is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_llm_service import Client
from local_llm_service.worker.errors import DeadlineExceeded
from tests.conftest import wait_until
from tests.doubles.openai_server import Reply
from tests.doubles.two_houses import two_houses
from tests.integration.conftest import StartWorker


def test_neither_a_death_nor_an_outage_sends_it_away(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    """A second worker goes on at home; and with home away a kept job waits until its deadline,
    while a free one beside it is answered elsewhere. A free one's context is made short once: what
    is paid for again is the very same prompt."""
    with two_houses(tmp_path) as houses, Client() as client:
        first = start_worker(**houses.environment, LEASE_SECONDS="3")
        options = {"model": "hard", "keep_local": True, "cache": False}
        job = client.generate("SECRET SLOWLY", **options)
        wait_until(lambda: len(houses.home.seen) == 1, "home writes")
        houses.abroad.say(Reply(end="hang"))
        about = client.generate("FREE one", model="hard", context="RAW tells of Bern. " * 300)
        wait_until(lambda: len(houses.abroad.requests) == 1, "its summary has left")
        read_at_home = len(houses.home.seen)
        first.kill()
        start_worker(**houses.environment, LEASE_SECONDS="3")
        answer = job.result(60)
        assert (answer.model, answer.keep_local) == ("fake:1b", True)
        assert about.result(60).model == "large"
        before, after = houses.abroad.requests
        assert before.body["messages"] == after.body["messages"]
        assert len(houses.home.seen) == read_at_home + 1, "the kept job alone ran there again"
        houses.home.stop()
        kept = client.generate("SECRET away", **options, deadline_seconds=1.5)
        named = client.chat(
            [{"role": "user", "content": "SECRET away"}], cache_scope="hr/anna", model="auto",
            deadline_seconds=1.5,
        )  # fmt: skip
        free = client.generate("FREE away", model="auto")
        assert free.result(30).model == "large"
        for job in (kept, named):
            with pytest.raises(DeadlineExceeded):
                job.result(30)
        sent = houses.sent_abroad()
        assert "FREE away" in sent
        assert "SECRET" not in sent
        assert "RAW" not in sent
        houses.home.start()  # the block ends it
