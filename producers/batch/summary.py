"""What a run says at its end, to people and in `--report`: counts, savings, how to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from local_llm_service.producers.batch.run import End
from local_llm_service.producers.batch.tally import Tally


@dataclass(frozen=True)
class Summary:
    """The numbers of one run, and those of the whole batch with its earlier runs.

    `failed_now`: lines that are failed after this run. `collected`: lines that it met and an
    earlier one had ended. `added`: lines that are new in an input which an earlier run had read to
    its end. `worth_usd` is an estimate, as in `local-llm stats`.
    """

    kind: str
    end: End
    run: Tally
    total: Tally
    failed_now: int
    collected: int
    output: str | None
    errors: str | None
    worth_usd: float
    prices_from: str
    added: int = 0
    unmatched: int = 0
    owed: str = ""

    def plain(self) -> dict[str, Any]:
        """The report, as JSON has it."""
        return {
            **asdict(self),
            "end": self.end.name.lower(),
            "run": _with_speed(self.run),
            "total": _with_speed(self.total),
            "worth_usd": round(self.worth_usd, 6),
        }

    def lines(self) -> list[str]:
        """The report in words."""
        total, run = self.total, self.run
        said = [f"{self.kind}: {total.answered:,} lines answered, {self.failed_now:,} failed"]
        if self.collected:
            said.append(
                f"this run: {run.answered:,} answered, {run.failed:,} failed; "
                f"{self.collected:,} lines were done before"
            )
        if self.added:
            said.append(f"the input has {self.added:,} lines more than before")
        if (speed := run.lines_a_minute()) and not math.isnan(speed):
            said.append(f"{speed:,.0f} lines a minute in {duration(run.seconds)}")
        said.append(
            f"{total.cached:,} from the cache, {total.joined:,} joined to an identical job; "
            f"{total.prompt_tokens:,} prompt tokens and {total.completion_tokens:,} generated"
        )
        said.append(self._savings())
        if self.unmatched:
            said.append(f"for {self.unmatched:,} answers the statement changed no row")
        if self.failed_now and self.errors:
            said.append(f"failed lines, with code and hint: {self.errors} ({_codes(run)})")
        return said

    def _savings(self) -> str:
        saved = f"{self.total.tokens_saved:,} tokens saved; " if self.total.tokens_saved else ""
        return (
            f"{saved}as many tokens would cost {self.worth_usd:,.2f} USD at the prices of "
            f"{self.prices_from}: prices are compared, not models"
        )


def duration(seconds: float) -> str:
    """A time for people: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _with_speed(tally: Tally) -> Mapping[str, Any]:
    speed = tally.lines_a_minute()
    return {**tally.plain(), "lines_a_minute": None if math.isnan(speed) else round(speed, 1)}


def _codes(tally: Tally) -> str:
    if not tally.errors:
        return "all from earlier runs"
    return ", ".join(f"{count:,} {code}" for code, count in tally.errors.most_common())
