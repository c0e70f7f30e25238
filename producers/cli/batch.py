"""`batch`: one kind for each line of a file or each row of a query, overnight.

The work is in `producers/batch/`, which is imported only when the command runs.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin

import click

from local_llm_service import tasks
from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.producers.cli.reading import read_json, read_text
from local_llm_service.producers.cli.waiting import obstacle
from local_llm_service.tasks.job import KINDS
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import InvalidRequest

if TYPE_CHECKING:
    from local_llm_service.producers.batch.progress import Progress
    from local_llm_service.producers.batch.start import Order
    from local_llm_service.producers.batch.summary import Summary

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

#: The names of kinds on the command line, where they differ.
_SHORT = {"extract_parameters": "extract", "structured_output": "structured"}
#: The arguments of kinds that are JSON, given as files.
_FILES = ("schema", "function_schema", "tools", "response_format")
#: Those that are long texts.
_TEXTS = ("context",)
_SAME = "The same for all lines."
#: Options that make the order and are no arguments of the kind.
_OF_THE_RUN = (
    *("inputs", "output", "ledger", "window", "retry_errors", "max_failures", "until", "between"),
    *("from_sql", "query", "write_sql", "id_field", "ordered"),
)

_OPTIONS: tuple[Decorator, ...] = (
    click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
    click.option("-o", "--output", metavar="FILE", help="Answers, one a line; - is stdout."),
    click.option("--window", type=click.IntRange(1, 1000), help="Jobs in flight [2 x slots]."),
    click.option("--ordered", is_flag=True, default=None, help="Keep the order of the input."),
    click.option("--retry-errors", is_flag=True, help="Also run the failed lines again."),
    click.option("--max-failures", metavar="N|P%", help="Stop when more lines fail."),
    click.option("--until", metavar="HH:MM", help="Submit nothing after that time."),
    click.option("--between", metavar="HH:MM-HH:MM", help="Submit between these times only."),
    click.option("--dry-run", is_flag=True, help="Count and estimate; submit and write nothing."),
    click.option("--report", metavar="FILE", help="Write the summary as JSON."),
    click.option("--id-field", metavar="NAME", help="The field with a line's id [custom_id]."),
    click.option("--from-sql", metavar="URL", help="Read rows of a database."),
    click.option("--query", metavar="SQL", help="With --from-sql: gives custom_id and arguments."),
    click.option("--write-sql", metavar="SQL", help="Run for each answer, with :custom_id etc."),
    click.option("--ledger", metavar="FILE", help="Where the run is recorded [OUTPUT.ledger]."),
    click.option("--model", help="Model; default: the worker's."),
    click.option("--priority", type=click.Choice(["high", "normal", "low"]), default="low",
                 show_default=True, help="Queue."),
    click.option("--deadline-seconds", type=float, help="Give up a job after this many seconds."),
    click.option("--cache/--no-cache", default=None, help="Use earlier answers  [default: cache]"),
    click.option("--cache-scope", help="Share cached answers only within this scope."),
    click.option("--keep-local", is_flag=True, default=None,
                 help="Let no word leave your own hardware."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)  # fmt: skip


@click.group()
def batch() -> None:
    """Run a kind for each line of a file, of stdin or of a query.

    A line is a JSON object with the kind's arguments and a custom_id; lines of OpenAI's Batch,
    ShareGPT and OpenAI chat are read, too. The same command goes on where a run was ended.
    """


def _run(
    kind: str, as_json: bool, dry_run: bool, report: str | None, given: dict[str, Any]
) -> Exit:
    order = _order(kind, given)
    if as_json and given["output"] == "-":
        raise InvalidRequest("--json: stdout has the answers already", "Use --report FILE.")
    if dry_run:
        from local_llm_service.producers.batch.estimate import estimate

        found = estimate(order)
        show_json(found.plain()) if as_json else say("\n".join(found.lines()))
        return Exit.BAD_INPUT if found.bad_lines else Exit.ANSWER
    from local_llm_service.producers.batch.output import NotWritten
    from local_llm_service.producers.batch.start import run_batch

    _check_report(report)
    if reason := obstacle():
        note(f"{reason}. The batch waits for it.")
    try:
        summary = run_batch(order, _progress(), note)
        if report is not None:
            _write_report(report, summary)
    except NotWritten as error:
        note(f"{error}. What was answered before is kept. {_go_on(given)}")
        return Exit.NOT_WRITTEN
    show_json(summary.plain()) if as_json else note("\n".join(summary.lines()))
    return _end(summary, given)


def _order(kind: str, given: dict[str, Any]) -> Order:
    from local_llm_service.producers.batch.limits import Hours, MostFailures
    from local_llm_service.producers.batch.plan import Plan
    from local_llm_service.producers.batch.start import Order

    arguments = {name: value for name, value in given.items() if name not in _OF_THE_RUN}
    own: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
        if value is not None and value != ()
    }
    for name in _FILES:
        if name in own:
            own[name] = read_json(own[name])
    for name in _TEXTS:
        if name in own:
            own[name] = read_text(own[name])
    return Order(
        Plan(kind, own, given["id_field"], bool(given["ordered"])),
        given["inputs"],
        failures=MostFailures.read(given["max_failures"]),
        hours=Hours(given["until"], given["between"]),
        **{
            name: given[name]
            for name in (
                *("output", "ledger", "window", "retry_errors"),
                *("from_sql", "query", "write_sql"),
            )
        },
    )


def _progress() -> Progress:
    from local_llm_service.producers.batch.progress import Bar, PlainLines

    if sys.stderr.isatty():
        try:
            return Bar()
        except ImportError:
            note("For a progress bar: pip install 'local-llm-service[batch]'.")
    return PlainLines(note)


def _end(summary: Summary, given: dict[str, Any]) -> Exit:
    """Say how to go on, if there is something left; return the exit code."""
    from local_llm_service.producers.batch.run import End

    if summary.owed:
        note(f"the database took no more ({summary.owed}): answers wait in the ledger. "
             f"{_go_on(given)}")  # fmt: skip
        return Exit.NOT_WRITTEN
    if summary.end is not End.INPUT:
        note(f"{summary.end.value}. {_go_on(given)}")
    codes = {End.INTERRUPTED: Exit.INTERRUPTED, End.HOURS: Exit.NOT_READY}
    failed = Exit.JOB_FAILED if summary.failed_now else Exit.ANSWER
    if summary.end is End.FAILURES:
        failed = Exit.JOB_FAILED
    return codes.get(summary.end, failed)


def _go_on(given: dict[str, Any]) -> str:
    if given["output"] == "-":
        return "Without a ledger, a run on stdout cannot go on."
    if given["from_sql"]:  # the URL may hold a password
        return "Go on with the same command."
    return f"Go on with: local-llm {shlex.join(sys.argv[1:])}"


def _check_report(path: str | None) -> None:
    """Raise InvalidRequest now, not in the morning."""
    if path is not None:
        try:
            with Path(path).open("a"):
                pass
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "is no file name"
            raise InvalidRequest(f"--report {path}: {reason}") from None


def _write_report(path: str, summary: Summary) -> None:
    from local_llm_service.producers.batch.output import NotWritten

    try:
        Path(path).write_text(json.dumps(summary.plain(), indent=2) + "\n")
    except OSError as error:
        raise NotWritten(path, error.strerror or "no reason given") from None


def _command(kind: Kind) -> click.Command:
    def run(as_json: bool, dry_run: bool, report: str | None, **given: Any) -> Exit:
        return _run(kind.name, as_json, dry_run, report, given)

    command: Command = run
    for option in reversed((*_OPTIONS, *_options_of(kind))):
        command = option(command)
    name = _SHORT.get(kind.name, kind.name)
    return click.command(name, help=f"Each line: {kind.description}")(command)


def _options_of(kind: Kind) -> list[Decorator]:
    """The arguments of a kind that may be the same for all lines. Defaults are the request's."""
    found: list[Decorator] = []
    for name, field in kind.request.model_fields.items():
        if name in JobRequest.model_fields or name == kind.request.POSITIONAL[0]:
            continue
        given_name = field.alias or name
        word = given_name.replace("_", "-")
        if given_name in _FILES:
            word = "schema" if field.is_required() else word
            help_ = "JSON file; default: the line's own."
            found.append(click.option(f"--{word}", given_name, metavar="FILE", help=help_))
            continue
        if given_name in _TEXTS:
            found.append(click.option(f"--{word}", given_name, metavar="FILE", help=_SAME))
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        is_set = default not in (None, [])
        help_ = f"{_SAME}{f'  [default: {default}]' if is_set else ''}"
        if (of := _type_of(field.annotation)) is bool:
            words = f"--{word}/--no-{word}"
            found.append(click.option(words, given_name, default=None, help=help_))
        elif get_origin(field.annotation) is list:
            found.append(click.option(f"--{word}", given_name, multiple=True, help=help_))
        else:
            found.append(click.option(f"--{word}", given_name, type=of, help=help_))
    return found


def _type_of(annotation: Any) -> type | None:
    """The type of a plain argument, which may also be None; None for text."""
    for one in (annotation, *get_args(annotation)):
        plain = get_args(one)[0] if get_origin(one) is Annotated else one
        if plain in (bool, int, float):
            return cast(type, plain)
    return None


for _name in tasks.__all__:
    _made = _command(KINDS[_name])
    batch.add_command(_made)
    if _name in _SHORT:
        batch.add_command(_made, _name)
