"""What a kind can be asked and what it answers is there at each of its doors."""

from __future__ import annotations

import inspect
from typing import Any

import click
import pytest
from click.testing import CliRunner

from local_llm_service import LocalLLMService, tasks
from local_llm_service.producers.asks import Asks, ChatOptions
from local_llm_service.producers.cli import cli
from local_llm_service.producers.cli.batch import _order
from local_llm_service.producers.cli.output import numbers
from local_llm_service.tasks.request import JobRequest
from local_llm_service.testing import LocalLLM

#: Kinds by their names on the command line and in the first API; chats have their own doors.
DOORS = {
    "generate": ("generate", "generate_response"),
    "summarize": ("summarize", "summarize_rag_context"),
    "compress": ("compress", "compress_conversation"),
    "extract_parameters": ("extract", "extract_function_parameters"),
    "structured_output": ("structured", "generate_structured_output"),
}
#: Arguments that a door gives under another name, or for its callers: that of one summary for all.
RENAMED = {"function_schema": "schema", "prompt": "prompt", "context": "file", "messages": "file"}
RENAMED |= {"user_message": "message"}
FIXED = {("compress_conversation", "keep_last")}


def arguments(kind: str) -> set[str]:
    """A kind's own arguments as callers name them."""
    fields = getattr(tasks, kind).kind.request.model_fields
    own = fields.keys() - JobRequest.model_fields.keys()
    return {fields[name].alias or name for name in own}


def options(command: click.Command) -> set[str]:
    """The parameters of a command."""
    return {str(one.name) for one in command.params}


@pytest.mark.parametrize("kind", tasks.__all__)
def test_the_clients_take_every_argument(kind: str) -> None:
    """By their names, and pass it on; another test holds the two faces against each other."""
    given: dict[str, Any] = {name: name for name in arguments(kind)}
    asked = getattr(Asks(), kind)(**given)
    assert {**asked.arguments, **asked.options} == given
    taken = set(inspect.signature(getattr(Asks, kind)).parameters)
    more = set(ChatOptions.__annotations__) if kind == "chat" else set()
    assert given.keys() - taken - more == set()


@pytest.mark.parametrize("kind", DOORS)
def test_the_command_line_takes_every_argument(kind: str) -> None:
    """One call, and a batch."""
    command, _ = DOORS[kind]
    # Of `generate`, the context is a file of its own name.
    renamed = RENAMED | ({"context": "context"} if kind == "generate" else {})
    named = {renamed.get(name, name) for name in arguments(kind)}
    assert named - options(cli.commands[command]) == set()
    group = cli.commands["batch"]
    assert isinstance(group, click.Group)
    first = getattr(tasks, kind).kind.request.POSITIONAL[0]
    assert arguments(kind) - {first} - options(group.commands[command]) == set()


@pytest.mark.parametrize("kind", DOORS)
def test_the_first_api_takes_every_argument(kind: str) -> None:
    """Whose methods give the bare content."""
    _, method = DOORS[kind]
    taken = set(inspect.signature(getattr(LocalLLMService, method)).parameters)
    assert {one for one in arguments(kind) - taken if (method, one) not in FIXED} == set()


def test_lists_of_a_batch_are_lists() -> None:
    """An option that comes several times; one that does not come is the line's own."""
    group = cli.commands["batch"]
    assert isinstance(group, click.Group)
    command = group.commands["compress"]
    for words, keep in (([], {}), (["--keep", "a", "--keep", "b"], {"keep": ["a", "b"]})):
        with command.make_context("compress", ["in", "-o", "out", *words]) as context:
            own = {"as_json", "dry_run", "report"}
            given = {name: value for name, value in context.params.items() if name not in own}
        assert _order("compress", given).plan.arguments == {"priority": "low", **keep}


def test_the_line_of_an_answer_says_what_was_not_said(local_llm: LocalLLM, tmp_path: Any) -> None:
    """Names of parameters, and how it ended; nothing of one step that ended as usual."""
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"name": "book", "parameters": {"properties": {"guests": {"type": "integer"},'
        ' "day": {"type": "string", "default": "today"}}, "required": ["guests"]}}'
    )
    local_llm.reply_json({"guests": None, "day": None}, times=3)
    done = CliRunner().invoke(cli, ["extract", "--schema", str(schema), "Some of us, please"])
    assert "missing: guests" in done.stderr
    assert "defaulted: day" in done.stderr
    short = tasks.summarize.delay("It rained.").get(timeout=5)
    assert numbers(short).endswith("unchanged, as it fits")
    assert "step" not in numbers(short)
