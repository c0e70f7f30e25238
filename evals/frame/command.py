"""The command line of `python -m evals`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.frame.overview import Prices

ROOT = Path(__file__).parents[2]
#: Where raw records go.
RESULTS = ROOT / "evals" / "results"
#: More folders of data, separated as in PATH.
DATA_VARIABLE = "EVALS_DATA"
#: Looked at where neither --data nor EVALS_DATA says anything: beside the checkout.
DEFAULT_DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Given:
    """What was asked for. `sets`: names; `ollama`: None for the embedded model."""

    model: str | None = None
    ollama: str | None = None
    sets: Sequence[str] = ()
    limit: int | None = None
    out: Path | None = None
    records: Path = RESULTS
    data: Sequence[Path] = ()
    num_ctx: int | None = None
    prices: Prices | None = None
    again: bool = False
    report: bool = False


def parse(names: Sequence[str], words: Sequence[str] | None = None) -> Given:
    """Read the command line; exits with 2 for what is wrong."""
    parser = _parser(names)
    given = parser.parse_args(words)
    if unknown := sorted(set(given.set) - set(names)):
        parser.error(f"--set: there is no {', '.join(unknown)}; there are {', '.join(names)}")
    if given.limit is not None and given.limit < 1:
        parser.error("--limit: 1 or more")
    if missing := [folder for folder in given.data if not folder.is_dir()]:
        parser.error(f"--data: {missing[0]} is no folder")
    if given.out is not None and not can_be_written(given.out):
        parser.error(f"--out: {given.out} cannot be written")
    given_prices = given.price_in is not None, given.price_out is not None, bool(given.volume)
    if any(given_prices) and not all(given_prices):
        parser.error("--price-in, --price-out and --volume go together")
    volumes = dict(_volume(parser, one) for one in given.volume)
    return Given(
        model=given.model,
        ollama=address(given.ollama),
        sets=[name for name in names if name in given.set or not given.set],
        limit=given.limit,
        out=given.out,
        records=given.records,
        data=given.data or _default_folders(),
        num_ctx=given.num_ctx,
        prices=Prices(given.price_in, given.price_out, volumes) if volumes else None,
        again=given.again,
        report=given.report,
    )


def can_be_written(path: Path) -> bool:
    """Whether a file may stand here, which is to be known before hours have passed."""
    return path.parent.is_dir() and not path.is_dir()


def address(host: str | None) -> str | None:
    """An address as OLLAMA_HOST has it, also without http://."""
    return host if host is None or "://" in host else f"http://{host}"


def _default_folders() -> list[Path]:
    if named := os.environ.get(DATA_VARIABLE):
        return [Path(folder) for folder in named.split(os.pathsep) if folder]
    return [DEFAULT_DATA]


def _volume(parser: argparse.ArgumentParser, text: str) -> tuple[str, float]:
    kind, _, calls = text.partition("=")
    try:
        return kind, float(calls)
    except ValueError:
        parser.error("--volume: a kind and a number, as summarize=30000")


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evals",
        description="This service beside the same model asked naively, on the sets of docs/evals.md"
        ". Start it again to go on where it stopped.",
    )
    add = parser.add_argument
    add("--model", help="default: the embedded model; with --ollama, MODEL_NAME")
    add("--ollama", metavar="URL", help="an Ollama that runs; default: the embedded model")
    add("--set", action="append", default=[], metavar="NAME", help=f"of {', '.join(names)}; or all")
    add("--limit", type=int, metavar="N", help="items of each set")
    add("--out", type=Path, metavar="FILE", help="write the tables here, too (Markdown)")
    add("--records", type=Path, default=RESULTS, metavar="FOLDER", help="raw records (JSONL)")
    add(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help=f"where data is; default: {DATA_VARIABLE}, else ../shared/data",
    )
    add("--num-ctx", type=int, metavar="TOKENS", help="the context; default: the set's, or NUM_CTX")
    add("--volume", action="append", default=[], metavar="KIND=CALLS", help="calls a month")
    add("--price-in", type=float, metavar="USD", help="of a million tokens read")
    add("--price-out", type=float, metavar="USD", help="of a million tokens written")
    add("--again", action="store_true", help="ask everything again")
    add("--report", action="store_true", help="only make the tables of what is known")
    return parser
