"""`--dry-run`: reads all lines as a run would, submits nothing, writes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from local_llm_service import tasks
from local_llm_service.producers.batch.ledger import Ledger
from local_llm_service.producers.batch.output import ErrorLines
from local_llm_service.producers.batch.records import LineJob, Records
from local_llm_service.producers.batch.start import Order
from local_llm_service.producers.batch.summary import duration
from local_llm_service.producers.batch.tally import Tally
from local_llm_service.producers.batch.writing import Writing
from local_llm_service.producers.service import stats, workers
from local_llm_service.worker.errors import BrokerUnreachable

#: The usual estimate for English. Only the model's own tokenizer knows better.
CHARACTERS_A_TOKEN: Final = 4


@dataclass(frozen=True)
class Estimate:
    """What a run would do. `seconds` is None where nothing is known to estimate it by."""

    kind: str
    calls: int
    done_before: int
    bad_lines: dict[str, int]
    first_bad: list[str]
    prompt_tokens: int
    seconds: float | None
    basis: str

    def plain(self) -> dict[str, Any]:
        """The estimate, as JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The estimate in words."""
        bad = sum(self.bad_lines.values())
        time = (
            "nobody knows how long" if self.seconds is None else f"about {duration(self.seconds)}"
        )
        return [
            f"{self.kind}: {self.calls:,} calls, {bad:,} bad lines, "
            f"{self.done_before:,} lines done before",
            *self.first_bad,
            f"about {self.prompt_tokens:,} prompt tokens "
            f"({CHARACTERS_A_TOKEN} characters to a token)",
            f"{time} ({self.basis})",
        ]


def estimate(order: Order) -> Estimate:
    """Read the input and say what a run would do. Raises InvalidRequest as a run does."""
    source, places = order.source(), order.places()
    if (statement := order.statement()) is not None:  # it is checked
        statement.close()
    calls, characters, first_bad = 0, 0, _First()
    # With the ledger of earlier runs, if there is one; nothing is committed to it.
    path = places.ledger if places.ledger and Path(places.ledger).exists() else ""
    with Ledger(path) as ledger:
        records = Records(
            order.reading_plan,
            ledger,
            Writing(ledger, None),
            first_bad,
            keeps_order=source.keeps_order,
            retried_tries=math.inf if order.retry_errors else 0,
        )
        records.load()
        for line in source.lines():
            job = records.look(line)
            if job is not None:
                calls, characters = calls + 1, characters + _characters(order.plan.kind, job)
        seconds, basis = _time(records.total, calls)
    return Estimate(
        order.plan.kind,
        calls,
        records.skipped,
        dict(records.run.errors),
        first_bad.said,
        characters // CHARACTERS_A_TOKEN,
        seconds,
        basis,
    )


class _First(ErrorLines):
    """Keeps the first bad lines for people, and writes none."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []

    def add(self, line: str) -> None:
        """Keep it while there are few."""
        if len(self.said) < 5:
            self.said.append(line)


def _characters(kind: str, job: LineJob) -> int:
    """The characters of what a call asks. Instructions are not counted: how often they are sent
    depends on the model's context, which only workers know."""
    request = getattr(tasks, kind).parse((), job.arguments)
    return len(json.dumps(request.content(), ensure_ascii=False))


def _time(total: Tally, calls: int) -> tuple[float | None, str]:
    """How long so many calls take, seconds, and by what that is known."""
    speed = total.lines_a_minute()
    if total.answered and not math.isnan(speed) and speed > 0:
        return calls * 60 / speed, f"this batch has done {speed:,.0f} lines a minute"
    try:
        slots, seen = sum(one.slots for one in workers() if not one.closed_by), stats()
    except BrokerUnreachable:
        return None, "Redis is away"
    if not slots:
        return None, "no worker takes jobs"
    if not seen["avg_latency_ms"]:
        return None, "no job has run here yet"
    seconds = seen["avg_latency_ms"] / 1000
    return calls * seconds / slots, (
        f"at most, with {slots} slots: jobs here have taken {seconds:.1f} s from submit to answer"
    )
