"""The command line, `local-llm` or `python -m producers`: the kinds, and commands that look.

Exit codes: 0 answer, 1 the job failed, 2 bad input, 3 Redis or workers cannot be reached or the
queue is full, 4 not ready or timed out, 5 unknown id, 6 output not written, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from local_llm_service.producers.cli import (
    batch,
    dead,
    following,
    jobs,
    keys,
    lint,
    look,
    route,
    spending,
    webhooks,
)
from local_llm_service.producers.cli.output import Exit, fail, note, say
from local_llm_service.producers.cli.terminal import abandon, prepare_streams
from local_llm_service.producers.http.command import serve
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    InvalidRequest,
    InvalidSetting,
    NotFound,
    NotReady,
    QueueFull,
    ServiceError,
)

#: The exit code of a command that could not do its part; a job's own failure is JOB_FAILED.
_EXITS: dict[type[ServiceError], Exit] = {
    InvalidRequest: Exit.BAD_INPUT,
    InvalidSetting: Exit.BAD_INPUT,
    BrokerUnreachable: Exit.UNREACHABLE,
    BrokerUnsafe: Exit.UNREACHABLE,
    QueueFull: Exit.UNREACHABLE,
    NotReady: Exit.NOT_READY,
    NotFound: Exit.UNKNOWN_ID,
}


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        say(f"local-llm {_version()}")
        context.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("local-llm-service")
    except PackageNotFoundError:
        return "(a checkout that is not installed)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Ask language models on your own hardware, through queues.

    REDIS_URL says where the queues are. Every command takes --json.
    """


#: click's error for a command without arguments; before 8.2, click shows the help and exits with 0.
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())

for command in (
    *jobs.COMMANDS,
    following.stream,
    *look.COMMANDS,
    spending.spending,
    dead.dead,
    keys.keys,
    batch.batch,
    serve,
    webhooks.webhooks,
    lint.lint,
    route.route,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    prepare_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # `| head` has what it wants
            hint = "Free space, then read it again: local-llm result ID."
            note(f"cannot write the output: {error.strerror or error}. {hint}")
        code = Exit.NOT_WRITTEN
    sys.exit(code or Exit.ANSWER)


def _run(words: list[str]) -> int:
    """Run one command and return its code. Raises OSError where stdout cannot be written."""
    as_json = "--json" in words
    try:
        return int(cli.main(words, prog_name="local-llm", standalone_mode=False) or 0)
    except _NO_ARGUMENTS as error:
        note(error.format_message())
        return Exit.BAD_INPUT
    except click.ClickException as error:
        return fail(InvalidRequest(error.format_message(), "See --help."), as_json, Exit.BAD_INPUT)
    except ServiceError as error:
        known = (_EXITS[one] for one in type(error).__mro__ if one in _EXITS)
        return fail(error, as_json, next(known, Exit.JOB_FAILED))
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except SystemExit:  # so click ends when nobody reads its output
        raise BrokenPipeError from None
