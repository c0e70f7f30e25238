"""`local-llm stats --by`: the savings ledger as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from local_llm_service.producers import service
from local_llm_service.producers.cli.output import Exit, say, show_json
from local_llm_service.producers.usage_report import COUNTS, MONEY, UsageReport, day_of, exact
from local_llm_service.worker.errors import InvalidRequest

#: Columns of the table for people: heading and the columns that it adds up. CSV and JSON have all.
_SHOWN: Final[Mapping[str, Sequence[str]]] = {
    "answers": ("computed", "cached", "joined"),
    "failed": ("failed", "cancelled"),
    "computed": ("computed_prompt", "computed_completion"),
    "cached": ("cached_prompt", "cached_completion"),
    "joined": ("joined_prompt", "joined_completion"),
    "wasted": ("wasted_prompt", "wasted_completion"),
    "paid USD": ("paid_usd", "wasted_usd"),
    "elsewhere USD": ("compared_usd",),
    "saved USD": ("saved_usd",),
}
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@")


def show_usage(
    by: str, since: str | None, until: str | None, *, as_csv: bool, as_json: bool
) -> Exit:
    """Print it. Raises InvalidRequest, InvalidSetting and BrokerUnreachable."""
    if as_csv and as_json:
        raise InvalidRequest("give --json or --csv, not both")
    first = None if since is None else day_of(since, "since")
    last = None if until is None else day_of(until, "until")
    report = service.usage(by, since=first, until=last)
    if as_json:
        show_json(report.plain())
    elif as_csv:
        say(as_csv_text(report))
    else:
        say(as_table(report))
        say(
            f"{report.since} to {report.until} (UTC); computed, cached, joined and wasted are "
            f"tokens; elsewhere: the answers at the price of {report.compared.from_where}"
        )
    return Exit.ANSWER


def as_csv_text(report: UsageReport) -> str:
    """All columns, a line for each row, and one for the total."""
    out = io.StringIO()
    columns = [*map(str, COUNTS), *MONEY]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([report.by, *columns])
    for name, sums in (*report.rows.items(), ("total", report.total)):
        told = f"'{name}" if name.startswith(_FORMULA) else name
        writer.writerow([told, *(_text(sums[column]) for column in columns)])
    return out.getvalue().removesuffix("\n")


def as_table(report: UsageReport) -> str:
    """The columns that people look at, in the width that each needs."""
    lines = [[report.by, *_SHOWN]]
    for name, sums in (
        *((name or "(none)", one) for name, one in report.rows.items()),
        ("total", report.total),
    ):
        shown = [sum(sums[column] for column in columns) for columns in _SHOWN.values()]
        lines.append([name, *map(_text, shown)])
    names, *columns = zip(*lines, strict=True)
    width = max(map(len, names))
    aligned = [[name.ljust(width) for name in names], *map(_aligned, columns)]
    return "\n".join("  ".join(line) for line in zip(*aligned, strict=True))


def _aligned(column: Sequence[str]) -> list[str]:
    """Numbers to the right under their heading, each with as many decimals as the longest has."""
    head, *rest = column
    if decimals := max(len(one.partition(".")[2]) for one in rest):
        rest = [f"{Decimal(one):.{decimals}f}" for one in rest]
    width = max(map(len, (head, *rest)))
    return [one.rjust(width) for one in (head, *rest)]


def _text(number: int | Decimal) -> str:
    return exact(number) if isinstance(number, Decimal) else str(number)
