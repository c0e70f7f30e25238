"""The evaluation of routing for real: a worker with a route, a scripted Ollama, the paid model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from evals.evaluate import one_set
from evals.frame.command import Given
from evals.frame.eval_set import OURS
from evals.frame.records import Record, Subject
from evals.frame.site import Site
from evals.frame.tables import Results
from evals.routing.claims import claims_table
from evals.routing.evaluation import write_labels
from evals.routing.log import Query
from evals.routing.paid_model import NAME, PaidModel, paid_model
from evals.routing.route_set import (
    ALL_PAID,
    AT_HOME,
    CONTEXT,
    ESCALATED,
    LEDGER,
    TOKENS_LOST,
    USD,
    Order,
    route_set,
)
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.fleet.price import Price
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.ollama import FakeOllama, Script

ORDER = Order(Price(Decimal("2.5"), Decimal(10)), answer_tokens=50, context_tokens=40)
REFUSAL = "I'm sorry, but I can't help with that."
LONG = "Which of all these bridges is the oldest one of them? " * 60
SECRET = "Herons nest beside the lock. "
QUERIES = [
    Query("simple", "Is a bee an insect?", expected=("yes",)),
    Query("refused", "Is a wasp one, too?", expected=("certainly",)),
    Query("complex", LONG, expected=("The Pons",)),
    Query("context", f"{LONG} Herons?", context=SECRET * 60, expected=("beside the lock",)),
]


class _Site(Site):
    @contextmanager
    def worker(self, settings: Mapping[str, str]) -> Iterator[WorkerProcess]:
        """As of a Site, forked, which starts sooner."""
        environment = {"REDIS_URL": self.redis_url, "OLLAMA_HOST": self.ollama_host}
        worker = ForkedWorker({**environment, "MODEL_NAME": self.model, **settings})
        worker.start()
        try:
            yield worker
        finally:
            worker.kill()


@dataclass(frozen=True)
class House:
    """What an evaluation runs in."""

    site: _Site
    paid: PaidModel
    folder: Path
    local: FakeOllama

    def results(self) -> Results:
        """Ask what no record answers."""
        fleet = self.folder / "engines.json"
        fleet.write_text(ORDER.fleet_file("fake:1b", self.site.ollama_host, self.paid.url))
        one = route_set(QUERIES, ORDER, self.paid, ORDER.worker(fleet))
        subject = Subject("fake:1b", "ab" * 32, "0.33.0", 8192)
        given = Given(records=self.folder)
        return one_set(given, self.site, one, list(one.items(None)), subject, one.worker)  # type: ignore[arg-type]


def answered(body: dict[str, Any]) -> Script:
    """What the local model says."""
    text = body["messages"][-1]["content"]
    if "wasp" in text:
        return Script((REFUSAL,), completion_tokens=9)
    return Script(("Herons nest there.",) if "Herons" in text else ("Yes.",))


@pytest.fixture
def house(redis_client: redis.Redis, tmp_path: Path) -> Iterator[House]:
    """A scripted Ollama and the simulated paid model."""
    with FakeOllama(answered) as local, paid_model(ORDER.answer_tokens) as paid:
        site = _Site(os.environ["REDIS_URL"], local.host, "fake:1b")
        yield House(site, paid, tmp_path, local)


def test_a_log_is_routed_billed_and_compared(house: House) -> None:
    """The ledger agrees with the bill to the token, and the same command asks nothing again."""
    results = house.results()
    by_key: dict[str, Record] = {one.key: one for one in results.of_side(OURS)}
    scores = {key: one.outcome.scores for key, one in by_key.items()}
    assert {key: one.outcome.failure for key, one in by_key.items()} == dict.fromkeys(scores)
    assert {key: one[AT_HOME.name].points for key, one in scores.items()} == {
        **{"simple": 1.0, "refused": 0.0, "complex": 0.0, "context": 0.0}
    }
    assert [key for key, one in scores.items() if one[ESCALATED.name].points] == ["refused"]
    assert scores["refused"][TOKENS_LOST.name].points >= 9
    assert scores["simple"][USD.name].points == 0
    for one in scores.values():
        assert one[LEDGER.name].points == pytest.approx(one[USD.name].points, abs=1e-9)
    context = scores["context"][CONTEXT.name]
    assert 0 < context.points < context.of / 2
    paid = {one.key: one.outcome.scores for one in results.of_side(ALL_PAID)}
    assert scores["context"][USD.name].points < paid["context"][USD.name].points
    assert "| queries answered locally | 60 % | 25.0 %" in claims_table(results, ORDER)

    asked = len(house.local.seen)
    assert len(house.results().of_side(OURS)) == len(QUERIES)
    assert len(house.local.seen) == asked
    assert house.paid.take_bill().prompt_tokens == 0

    kept = (house.folder / "routing.jsonl").read_text()
    assert not [word for word in ("bridges", "Herons", "insect", "certainly") if word in kept]
    write_labels(house.folder / "labels.jsonl", results)
    labels = map(json.loads, (house.folder / "labels.jsonl").read_text().splitlines())
    assert {one["prompt"]: one["complex"] for one in labels} == {
        QUERIES[0].prompt: False,
        QUERIES[1].prompt: True,
        QUERIES[2].prompt: True,
        QUERIES[3].prompt: True,
    }
    assert NAME not in json.dumps([one["model"] for one in map(json.loads, kept.splitlines())])
