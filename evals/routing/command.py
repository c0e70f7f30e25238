"""The command line of `python -m evals routing`; see docs/evals.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from evals.frame.command import RESULTS, ROOT, Given, address, can_be_written
from evals.routing.log import LogUnusable, Query, read_log
from evals.routing.route_set import Order
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.fleet.prices import compared
from local_llm_service.worker.fleet.remote_budget import RemoteBudget
from local_llm_service.worker.settings import Settings

FITTED = "local_llm_service.tasks.routing.fitted:classify"
EXAMPLE_LOG = ROOT / "evals" / "data" / "routing.jsonl"


@dataclass(frozen=True)
class Asked:
    """What was asked for. `offline`: no model is asked, only labels are looked at."""

    log: Sequence[Query]
    labels: Sequence[Query]
    order: Order
    given: Given
    offline: bool
    labels_out: Path | None


def parse(words: Sequence[str]) -> Asked:
    """Read the command line and the files it names; exits with 2 for what is wrong."""
    parser = _parser()
    given = parser.parse_args(words)
    price, price_from = _price(parser, given)
    _check(parser, given)
    try:
        log = read_log(given.log)
        labels = read_log(given.labels) if given.labels is not None else log
    except LogUnusable as error:
        parser.error(str(error))
    labelled = [one for one in labels if one.is_labelled]
    if given.labels is not None and not labelled:
        parser.error(f"--labels: {given.labels} has no line with complex, or with local_right")
    order = Order(
        price,
        price_from,
        given.complex_from,
        not given.no_cascade,
        given.router or (FITTED if given.router_file is not None else None),
        given.router_file,
        given.budget,
        given.max_tokens,
        given.answer_tokens,
        given.context_tokens,
    )
    return Asked(log, labelled, order, _frame(given), given.offline, given.labels_out)


def _frame(given: argparse.Namespace) -> Given:
    """What every evaluation is given."""
    return Given(
        model=given.model,
        ollama=address(given.ollama),
        limit=given.limit,
        out=given.out,
        records=given.records,
        num_ctx=given.num_ctx,
        again=given.again,
        report=given.report,
    )


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Exit with 2 for what would fail only after hours."""
    if given.out is not None and not can_be_written(given.out):
        parser.error(f"--out: {given.out} cannot be written")
    if given.labels_out is not None and not can_be_written(given.labels_out):
        parser.error(f"--labels-out: {given.labels_out} cannot be written")
    for name in ("limit", "max_tokens", "answer_tokens", "context_tokens"):
        if (value := getattr(given, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: 1 or more")
    if given.complex_from is not None and not 0 <= given.complex_from <= 1:
        parser.error("--complex-from: from 0 to 1")
    if given.router_file is not None and not Path(given.router_file).is_file():
        parser.error(f"--router-file: {given.router_file} is no file")
    try:
        RemoteBudget.read(given.budget)
    except InvalidSetting as error:
        parser.error(f"--budget: {error.hint}")


def _price(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[Price, str]:
    """What a paid model costs, and who says so."""
    if (given.price_in is None) != (given.price_out is None):
        parser.error("--price-in and --price-out go together")
    if given.price_in is not None:
        return Price(_usd(parser, given.price_in), _usd(parser, given.price_out)), "as given"
    try:
        row = compared(given.paid_model, given.prices_file)
    except InvalidSetting as error:
        parser.error(f"--paid-model: {error.message}. {error.hint}")
    return row.price, row.from_where


def _usd(parser: argparse.ArgumentParser, text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd <= 1_000_000:
        parser.error("--price-in, --price-out: US dollars for a million tokens")
    return usd


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evals routing",
        description="What a route does with a log of yours: a real local model, a simulated paid "
        "one, and your prices. Start it again to go on where it stopped.",
    )
    add = parser.add_argument
    add("log", nargs="?", type=Path, default=EXAMPLE_LOG, metavar="LOG",
        help="JSONL of queries; default: sixty invented ones")  # fmt: skip
    add("--labels", type=Path, metavar="FILE", help="labelled queries; default: those of LOG")
    add("--offline", action="store_true", help="ask no model: only the tables of labels")
    add("--labels-out", type=Path, metavar="FILE",
        help="write labels for `local-llm route fit`: what the local model got wrong")  # fmt: skip
    add("--paid-model", default=Settings.model_fields["compare_model"].default, metavar="NAME",
        help="whose price, of the table of prices; default: %(default)s")  # fmt: skip
    add("--prices-file", metavar="FILE", help="your own table, as PRICES_FILE")
    add("--price-in", metavar="USD", help="of a million tokens read, with --price-out")
    add("--price-out", metavar="USD", help="of a million tokens written")
    add("--budget", default="unlimited", metavar="USD", help="as REMOTE_BUDGET_USD: 5/day")
    add("--complex-from", type=float, metavar="SCORE", help="the route's; default: the router's")
    add("--no-cascade", action="store_true", help="the local answer is taken as it is")
    add("--router", metavar="MODULE:FUNCTION", help="default: length and structure")
    add("--router-file", metavar="FILE", help="what `local-llm route fit` wrote")
    add("--max-tokens", type=int, default=200, metavar="N", help="of an answer of the local model")
    add("--answer-tokens", type=int, default=200, metavar="N", help="of each paid answer")
    add("--context-tokens", type=int, metavar="N", help="max_context_tokens of each call")
    add("--model", help="default: the embedded model; with --ollama, MODEL_NAME")
    add("--ollama", metavar="URL", help="an Ollama that runs; default: the embedded model")
    add("--limit", type=int, metavar="N", help="queries of the log")
    add("--num-ctx", type=int, metavar="TOKENS", help="the local context; default: NUM_CTX")
    add("--out", type=Path, metavar="FILE", help="write the tables here, too (Markdown)")
    add("--records", type=Path, default=RESULTS, metavar="FOLDER", help="raw records (JSONL)")
    add("--again", action="store_true", help="ask everything again")
    add("--report", action="store_true", help="only make the tables of what is known")
    return parser
