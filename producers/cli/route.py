"""`route fit`: a router of one's own log, if it is better than length alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.producers.cli.reading import read_text
from local_llm_service.producers.route_fit.labels import read_labels
from local_llm_service.worker.errors import InvalidRequest

if TYPE_CHECKING:
    from local_llm_service.producers.route_fit.fitted_router import FittedRouter
    from local_llm_service.tasks.routing.router_file import Estimate

_NOT_BETTER = (
    "nothing is written: the interval of the difference is not above 0, so these labels do not "
    "show that the fitted router is better than length alone"
)
_USE = "Use it: ROUTER=local_llm_service.tasks.routing.fitted:classify ROUTER_FILE={}"


@click.group()
def route() -> None:
    """Routes: which prompts go to the large model."""


@route.command("fit")
@click.argument("labels")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Where the router goes.",
)  # fmt: skip
@click.option(
    "--folds", type=click.IntRange(2, 20), default=5, show_default=True,
    help="Each part is judged by a router of all others.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
    help="Of the parts and the intervals.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fit(labels: str, output: Path, folds: int, seed: int, as_json: bool) -> Exit:
    """Make a router of the labelled prompts in the JSONL file LABELS (-: stdin).

    A line is {"prompt": "...", "complex": true}. The router is written only if it tells complex
    prompts from simple ones better than their length alone does; else the exit code is 1. It holds
    no word of any prompt. Nothing is asked of any model.
    """
    if not output.parent.is_dir():
        raise InvalidRequest(f"{output}: there is no such folder", "Make it first.")
    found = read_labels(read_text(labels), "stdin" if labels == "-" else labels)
    try:
        from local_llm_service.producers.route_fit import fitted_router
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            f"route fit needs the package {error.name}", "pip install 'local-llm-service[route]'"
        ) from None
    fitted = fitted_router.fit_router(found, folds, seed)
    is_better = fitted.file.judged.beats_length
    if is_better:
        try:
            fitted_router.write_router(fitted.file, output)
        except OSError as error:
            note(f"{output}: cannot be written: {error.strerror}. An older file is as it was.")
            return Exit.NOT_WRITTEN
    if as_json:
        show_json(_plain(fitted, output))
    else:
        _show(fitted)
    if not is_better:
        note(_NOT_BETTER)
        return Exit.JOB_FAILED
    note(f"{output} is written. {_USE.format(output)}")
    return Exit.ANSWER


def _plain(fitted: FittedRouter, output: Path) -> dict[str, object]:
    judged = fitted.file.judged
    return {
        **judged.model_dump(),
        "distinct": fitted.distinct,
        "beats_length": judged.beats_length,
        "written": str(output) if judged.beats_length else None,
        "cuts": [
            {
                "sent": one.sent,
                "complex_from": one.complex_from,
                "found": one.found,
                "found_by_length": one.found_by_length,
            }
            for one in fitted.cuts
        ],
    }


def _show(fitted: FittedRouter) -> None:
    judged = fitted.file.judged
    say(f"{judged.labels} labels, {fitted.distinct} distinct prompts, {judged.complex} complex")
    say(f"  AUC of length alone  {_interval(judged.length_auc)}")
    say(f"  AUC of the router    {_interval(judged.auc)}")
    say(f"  difference          {_interval(judged.difference, '+')}")
    say("sent to the large model   from score   of the complex ones   by length alone")
    for one in fitted.cuts:
        say(
            f"{one.sent:>22.0%} {one.complex_from:>13.2f} {one.found:>21.0%} "
            f"{one.found_by_length:>17.0%}"
        )


def _interval(one: Estimate, sign: str = "") -> str:
    low, high = (f"{value:{sign}.3f}" for value in (one.low, one.high))
    return f"{one.value:{sign}.3f}  95 % interval {low} to {high}"
