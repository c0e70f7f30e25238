"""`spending`: what paid models have cost today and this month, and what they may still cost."""

from __future__ import annotations

from typing import Any

import click

from local_llm_service.producers import service
from local_llm_service.producers.cli.output import Exit, say, show_json
from local_llm_service.worker.fleet.price import usd_text


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def spending(as_json: bool) -> Exit:
    """Print what paid models cost today and this month (UTC), and what is left.

    What is left goes by the REMOTE_BUDGET_USD of this process.
    """
    seen = service.spending()
    if as_json:
        show_json(seen)
    for period in () if as_json else seen.values():
        say(_line(period))
    return Exit.ANSWER


def _line(seen: dict[str, Any]) -> str:
    paid, wasted, reserved = (
        usd_text(seen[f"{column}_nano_usd"]) for column in ("paid", "wasted", "reserved")
    )
    line = f"{seen['period']:10}  paid {paid} USD, wasted {wasted}, reserved {reserved}"
    if seen["left_nano_usd"] is None:
        return line
    left, budget = usd_text(seen["left_nano_usd"]), usd_text(seen["budget_nano_usd"])
    return f"{line}; {left} of {budget} USD left"
