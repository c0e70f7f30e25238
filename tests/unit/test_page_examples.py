"""What the pages show is so: their Python runs, their commands and lines are understood."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from openai import OpenAI

from local_llm_service import Client, Job, LocalLLMService
from local_llm_service.producers.batch.plan import Plan
from local_llm_service.producers.cli import cli
from local_llm_service.tasks.json_answers.lint import lint
from local_llm_service.testing import LocalLLM, plugin
from tests.http.conftest import http_site
from tests.unit.test_pages import CODE, CURRENT, DOCS, ROOT, named, rows

#: A line of an example with its value behind it.
SHOWN = re.compile(r"^(\S.*?)  # (['\"{\[\d].*)$", re.M)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [text for language, text in found if language in languages]


def run(block: str, names: dict[str, Any]) -> None:
    """Run a block, which may await, and compare the values that it shows."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(block, "example", "exec", flags=flags, dont_inherit=True)
    awaited = eval(code, names)
    if inspect.iscoroutine(awaited):
        asyncio.run(awaited)
    for expression, value in SHOWN.findall(block):
        assert eval(expression, names) == ast.literal_eval(value)


def public(*classes: type) -> set[str]:
    """The names that callers use of these classes."""
    return {name for one in classes for name in vars(one) if not name.startswith("_")}


def commands(page: Path) -> list[list[str]]:
    """The calls of local-llm in the console blocks of a page, without what a shell does."""
    lines = "".join(blocks(page, "console", "sh")).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if not re.match(r"\$ |\d+ \d+ \* ", line):
            continue
        words = shlex.split(line, comments=True)
        if "local-llm" in words:
            words = words[words.index("local-llm") + 1 :]
            end = next((n for n, word in enumerate(words) if word in ("|", ">")), None)
            found.append(words[:end])
    return found


@pytest.mark.local_llm(models=["smollm2:135m"])
def test_the_python_of_the_readme_runs(local_llm: LocalLLM) -> None:
    """And its first call has the answer that it shows."""
    local_llm.reply("The capital of France is Paris.")
    names: dict[str, Any] = {"document": "It rained."}
    with http_site() as site:
        for block in blocks(ROOT / "README.md", "python"):
            run(block.replace("http://127.0.0.1:8015", site.url), names)
            if isinstance(names.get("client"), OpenAI):
                names.pop("client").close()
    assert names["reply"].choices[0].message.content


def test_the_python_of_the_clients_page_runs(local_llm: LocalLLM) -> None:
    """In its order; an id and an offset are those of the last job and event."""
    client = Client()
    names: dict[str, Any] = {
        "document": "It rained.",
        "documents": ["One.", "Two.", ""],
        "prompts": ["Three.", "Four."],
        "messages": [{"role": "user", "content": "Hi"}],
        "schema": {"type": "object"},
        "function_schema": {"name": "f", "parameters": {"type": "object"}},
    }
    for block in blocks(DOCS / "clients.md", "python"):
        names["client"] = client  # not the one of an event loop that has ended
        run(block, names)
        if "job" in names:
            names["task_id"] = names["job"].id
        if "event" in names:
            names["offset"] = names["event"].offset
    assert names["event"].type == "end"
    assert names["outcome"] is not None


def test_the_test_of_the_testing_page_passes(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the backend that it tests."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "backend")
    names: dict[str, Any] = {}
    (block,) = blocks(DOCS / "testing.md", "python")
    run(block, names)
    (test,) = [one for name, one in names.items() if name.startswith("test_")]
    test(local_llm)
    sys.modules.pop("digests")


def test_the_clients_page_names_every_method() -> None:
    """Of clients and jobs in its tables; those of the first service anywhere."""
    page = DOCS / "clients.md"
    words = {re.match(r"\w+", word) for word in named(page, "method", "gives")}
    methods = {match[0] for match in words if match}
    assert public(Client, Job) - methods == set()
    text = page.read_text()
    assert [name for name in public(LocalLLMService) - {"close"} if name not in text] == []


def test_the_testing_page_names_all_that_a_test_can_use() -> None:
    """Methods of the fixture, and options of its marker."""
    page = (DOCS / "testing.md").read_text()
    assert [name for name in public(LocalLLM) if not re.search(rf"\b{name}\b", page)] == []
    options = {row["option"].strip("`") for row in rows(DOCS / "testing.md", "option", "default")}
    assert options == plugin._OPTIONS


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_every_command_line_in_a_page_is_understood(page: Path) -> None:
    """By its parser: the options are there, and no argument is missing."""
    for words in commands(page):
        command: click.Command = cli
        while isinstance(command, click.Group) and words[0] in command.commands:
            command, *words = command.commands[words[0]], *words[1:]
        if not isinstance(command, click.Group):
            command.make_context(str(command.name), words)


def test_every_line_of_a_batch_in_its_page_is_understood() -> None:
    """Each of the known shapes, and the file that the first command reads."""
    lines = [row["example"].split("`")[1] for row in rows(DOCS / "batch.md", "shape", "example")]
    assert len(lines) == 5
    example = (ROOT / "examples" / "conversations.jsonl").read_text().splitlines()
    assert f"{len(example)} lines answered, 0 failed" in (DOCS / "batch.md").read_text()
    lines += example
    readings = [Plan("compress").read(line.encode()) for line in lines]
    assert [reading.error for reading in readings if reading.error] == []


def test_the_batch_page_names_every_option() -> None:
    """By one of its names."""
    page, group = (DOCS / "batch.md").read_text(), cli.commands["batch"]
    assert isinstance(group, click.Group)
    options = [one for one in group.commands["structured"].params if isinstance(one, click.Option)]
    missing = [one.opts for one in options if not any(f"`{word}" in page for word in one.opts)]
    assert missing == []


def test_the_page_of_answers_says_what_the_grammar_does_not_enforce() -> None:
    """Row by row, as the lint does."""
    found = 0
    for row in rows(DOCS / "answers.md", "schema", "not enforced"):
        schema = json.loads(row["schema"].strip("`"))
        told = {place.rpartition(": ")[2] for place in lint(schema)}
        assert told == set(CODE.findall(row["not enforced"])), row["schema"]
        found += 1
    assert found > 20
