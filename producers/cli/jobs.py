"""The kinds as commands, with the options that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from local_llm_service.producers.cli.following import follow, leave
from local_llm_service.producers.cli.output import Exit, fail, note, say, show_answer, show_json
from local_llm_service.producers.cli.reading import SECONDS, read_argument, read_json, read_text
from local_llm_service.producers.cli.waiting import obstacle, wait
from local_llm_service.producers.client import Client, Job
from local_llm_service.tasks.chat import ChatRequest
from local_llm_service.tasks.compress import CompressRequest
from local_llm_service.tasks.generate import GenerateRequest
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.summarize import SummarizeRequest
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    NotFound,
    NotReady,
    ServiceError,
)

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def _with_default(request: type[JobRequest], name: str, help: str, **options: Any) -> Decorator:
    """The option for an argument with a default, which --help takes from the request.

    An option that is not given is not passed on: only the request holds defaults.
    """
    default = request.model_fields[name].default
    option = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        option = f"{option}/--no-{name}"
        default = name if default else f"no-{name}"
    return click.option(option, default=None, help=f"{help}  [default: {default}]", **options)


_OPTIONS = (
    click.option("--model", help="Model; default: the worker's."),
    click.option("--priority", type=click.Choice(["high", "normal", "low"]), help="Queue."),
    click.option("--deadline-seconds", type=float, help="Give up after this many seconds."),
    _with_default(JobRequest, "cache", "Use earlier answers."),
    click.option("--cache-scope", help="Share cached answers only within this scope."),
    click.option("--keep-local", is_flag=True, default=None,
                 help="Let no word leave your own hardware."),
)  # fmt: skip
_WAITING = (
    click.option(
        "--stream", is_flag=True, help="Print the text as it comes; Ctrl-C cancels the job."
    ),
    click.option("--no-wait", is_flag=True, help="Print the task id and exit."),
    click.option(
        "--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds to wait."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def _kind(submit: Callable[..., Job[Any]]) -> Command:
    """Make a command body from a function that submits: add the shared options and the wait."""

    def run(stream: bool, no_wait: bool, timeout: float, as_json: bool, **arguments: Any) -> Exit:
        job = submit(**arguments, stream=stream or None)
        return _finish(job, stream and not no_wait, no_wait, timeout, as_json)

    run.__doc__, run.__name__ = submit.__doc__, submit.__name__
    command: Command = run
    for option in reversed((*_OPTIONS, *_WAITING)):
        command = option(command)
    return command


def _finish(job: Job[Any], stream: bool, no_wait: bool, timeout: float, as_json: bool) -> Exit:
    if no_wait:
        show_json({"task_id": job.id}) if as_json else say(job.id)
        return Exit.ANSWER
    later = f"Read it later: local-llm result {job.id}"
    try:
        if reason := obstacle():
            note(f"{reason}. Task {job.id} is queued; waiting up to {timeout:g} s.")
        if stream:
            return follow(job, timeout, as_json, owns=True)
        answer = wait(job, timeout)
    except NotReady:
        if stream:
            raise
        raise NotReady(f"no answer within {timeout:g} s", f"{later}.") from None
    except KeyboardInterrupt:
        if stream:
            leave(job, owns=True)
        else:
            note(f"The job goes on. {later}")
        return Exit.INTERRUPTED
    except (BrokerUnreachable, NotFound):
        raise  # not the job's failure
    except ServiceError as error:
        return fail(error, as_json, Exit.JOB_FAILED)
    show_answer(answer.plain(), as_json)
    return Exit.ANSWER


@_kind
def _generate(prompt: str, context: str | None, **options: Any) -> Job[Any]:
    """Write free text for PROMPT (- reads it from stdin)."""
    text = None if context is None else read_text(context)
    return Client().generate(read_argument(prompt), context=text, **options)


@_kind
def _summarize(file: str, **options: Any) -> Job[Any]:
    """Summarize FILE (- is stdin)."""
    return Client().summarize(read_text(file), **options)


@_kind
def _compress(
    file: str, keep: tuple[str, ...], previous_summary: str | None, **options: Any
) -> Job[Any]:
    """Compress the conversation in FILE: a JSON list of {"role", "content"}."""
    return Client().compress(
        read_json(file),
        keep=list(keep) or None,
        previous_summary=None if previous_summary is None else read_text(previous_summary),
        **options,
    )


@_kind
def _extract(message: str, schema: str, **options: Any) -> Job[Any]:
    """Read the arguments of a function (--schema FILE) out of MESSAGE.

    The file may hold a list of functions, one of which is chosen.
    """
    return Client().extract_parameters(read_argument(message), read_json(schema), **options)


@_kind
def _structured(prompt: str, schema: str, **options: Any) -> Job[Any]:
    """Answer PROMPT with an instance of a JSON Schema (--schema FILE)."""
    return Client().structured_output(read_argument(prompt), read_json(schema), **options)


@_kind
def _chat(
    file: str, tools: str | None, response_format: str | None, stop: tuple[str, ...], **options: Any
) -> Job[Any]:
    """Say the next message of the conversation in FILE: a JSON list of {"role", "content"}.

    --tools and --response-format are OpenAI's, as JSON files.
    """
    return Client().chat(
        read_json(file),
        tools=None if tools is None else read_json(tools),
        response_format=None if response_format is None else read_json(response_format),
        stop=list(stop) or None,
        **options,
    )


@_kind
def _embed(texts: tuple[str, ...], **options: Any) -> Job[Any]:
    """Turn each TEXT into a vector (- reads one from stdin)."""
    return Client().embed([read_argument(text) for text in texts], **options)


def _command(name: str, body: Command, *parameters: Callable[[Command], Command]) -> click.Command:
    for parameter in reversed(parameters):
        body = parameter(body)
    return click.command(name)(body)


_SCHEMA = click.option("--schema", required=True, metavar="FILE", help="JSON file; - is stdin.")


def _strict(help: str) -> Decorator:
    return click.option("--strict", is_flag=True, default=None, help=help)


COMMANDS = (
    _command(
        "generate",
        _generate,
        click.argument("prompt"),
        click.option("--system-prompt", help="Instruction to the model, before the prompt."),
        _with_default(GenerateRequest, "max_tokens", "Longest answer, in tokens.", type=int),
        _with_default(GenerateRequest, "temperature", "0 (most likely) to 2 (wild).", type=float),
        click.option("--context", metavar="FILE", help="The text to answer from."),
        click.option(
            "--max-context-tokens", type=int, help="Make a longer one short, for the prompt."
        ),
    ),
    _command(
        "summarize",
        _summarize,
        click.argument("file"),
        _with_default(
            SummarizeRequest, "max_summary_tokens", "Longest summary, in tokens.", type=int
        ),
        click.option("--question", help="Keep what helps to answer this."),
    ),
    _command(
        "compress",
        _compress,
        click.argument("file"),
        _with_default(
            CompressRequest, "target_tokens", "All messages of the answer, in tokens.", type=int
        ),
        _with_default(CompressRequest, "keep_last", "Last messages to keep as they are.", type=int),
        click.option("--keep", multiple=True, help="Keep this text word for word; repeatable."),
        click.option(
            "--previous-summary", metavar="FILE", help="The summary of the messages before."
        ),
    ),
    _command(
        "extract",
        _extract,
        click.argument("message"),
        _SCHEMA,
        _strict("Fail where a parameter is missing or not in the message."),
    ),
    _command(
        "structured",
        _structured,
        click.argument("prompt"),
        _SCHEMA,
        _strict("Refuse a schema that the model server cannot enforce as a whole."),
    ),
    _command(
        "chat",
        _chat,
        click.argument("file"),
        click.option("--tools", metavar="FILE", help="Functions that the model may call."),
        click.option(
            "--tool-choice", type=click.Choice(["auto", "none", "required"]), help="Must it call?"
        ),
        click.option("--response-format", metavar="FILE", help="JSON that the answer has to be."),
        click.option("--stop", multiple=True, help="End before this text; up to four times."),
        click.option("--seed", type=int, help="The same seed gives the same text."),
        _with_default(ChatRequest, "max_tokens", "Longest answer, in tokens.", type=int),
        _with_default(ChatRequest, "temperature", "0 (most likely) to 2 (wild).", type=float),
    ),
    _command(
        "embed",
        _embed,
        click.argument("texts", nargs=-1, required=True),
        click.option("--dimensions", type=int, help="Keep so many numbers of each vector."),
    ),
)
