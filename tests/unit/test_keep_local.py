"""What is to stay on one's own hardware is known of each call, and handed on with its answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from click.testing import CliRunner

from local_llm_service import Client, chat, embed, generate, summarize, tasks
from local_llm_service.producers.cli import cli
from local_llm_service.tasks.job import KindTask
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import InvalidRequest

FUNCTION = {"name": "greet", "parameters": {"properties": {}}}
#: The least that each kind needs.
LEAST: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "Hi"},
    "summarize": {"context": "Hi"},
    "compress": {"messages": [{"role": "user", "content": "Hi"}]},
    "extract_parameters": {"user_message": "Hi", "function_schema": FUNCTION},
    "structured_output": {"prompt": "Hi", "schema": True},
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "embed": {"input": "Hi"},
}
#: The argument of each kind that a chain fills with an answer.
TAKES = {
    "generate": "prompt",
    "summarize": "context",
    "extract_parameters": "user_message",
    "structured_output": "prompt",
    "chat": "messages",
    "embed": "input",
}


def answered(task: KindTask, *args: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = task.delay(*args, **options).get(timeout=10)
    return found


@pytest.mark.parametrize("kind", tasks.__all__)
def test_every_kind_takes_it(local_llm: LocalLLM, kind: str) -> None:
    """And its answer says so, where it is true alone; a client's answer has it in any case."""
    local_llm.reply("{}", times=None)
    task = getattr(tasks, kind)
    assert "keep_local" not in answered(task, **LEAST[kind])
    assert answered(task, **LEAST[kind], keep_local=True)["keep_local"] is True
    with Client() as client:
        for keep_local in (True, False, None):
            job = client.submit(kind, LEAST[kind], keep_local=keep_local)
            assert job.result(10).keep_local is bool(keep_local)
    with pytest.raises(InvalidRequest, match="keep_local"):
        task.delay(**LEAST[kind], keep_local="yes")


@pytest.mark.parametrize("kind", TAKES)
def test_what_is_made_of_a_kept_answer_is_kept(local_llm: LocalLLM, kind: str) -> None:
    """Whatever the second call says of itself; an answer that was free leaves it free."""
    local_llm.reply("{}", times=None)
    task = getattr(tasks, kind)
    own = {name: one for name, one in LEAST[kind].items() if name != TAKES[kind]}
    for first in (True, False):
        answer = answered(generate, "Who?", keep_local=first)
        for second in ({}, {"keep_local": False}):
            made = answered(task, **{TAKES[kind]: answer}, **own, **second)
            assert made.get("keep_local", False) is first


def test_a_canvas_hands_it_on(local_llm: LocalLLM) -> None:
    """A chain to its end, a chord with one kept part, a callback's argument."""
    local_llm.reply("It rains.", times=None)
    three = chain(summarize.s("Rain. " * 200, keep_local=True), generate.s(), chat.s())
    assert three.apply_async().get(timeout=10)["keep_local"] is True
    free = chain(generate.s("Hi"), chat.s()).apply_async().get(timeout=10)
    assert "keep_local" not in free
    header = group(generate.s("One"), generate.s("Two", keep_local=True))
    assert chord(header)(summarize.s()).get(timeout=10)["keep_local"] is True


def test_a_kept_call_shares_with_kept_ones_alone(local_llm: LocalLLM) -> None:
    """Else a caller's free question would be answered by a job that it knows nothing of, and a kept
    one by a job that has left."""
    local_llm.reply("It rains.", times=None)
    origins = [
        answered(generate, "Rain?", keep_local=kept)["origin"]
        for kept in (True, False, True, False)
    ]
    assert origins == ["computed", "computed", "cached", "cached"]
    assert answered(generate, "Rain?", keep_local=True)["keep_local"] is True
    assert answered(embed, "Rain?")["origin"] == "computed"


def test_a_batch_of_the_command_line_says_it_for_all_lines(
    local_llm: LocalLLM, tmp_path: Path
) -> None:
    """As its other options; a context is one file, which each line is answered from."""
    local_llm.reply("At noon.", times=None)
    lines, context, output = (tmp_path / name for name in ("in.jsonl", "gate.txt", "out.jsonl"))
    lines.write_text('{"prompt": "When?"}\n{"prompt": "Why?", "keep_local": true}\n')
    context.write_text("The gate is shut at noon.")
    words = ["batch", "generate", str(lines), "-o", str(output), "--context", str(context)]
    for more, kept in ((["--keep-local"], {True}), ([], {True, None})):
        output.unlink(missing_ok=True)
        Path(f"{output}.ledger").unlink(missing_ok=True)
        done = CliRunner().invoke(cli, [*words, *more])
        assert done.exit_code == 0, done.output
        answers = [json.loads(line)["answer"] for line in output.read_text().splitlines()]
        assert {one.get("keep_local") for one in answers} == kept
        assert all(one["context"]["saved_tokens"] == 0 for one in answers)
    assert "The gate is shut at noon." in local_llm.prompts[0].text
    job = CliRunner().invoke(cli, ["generate", "When?", "--context", str(context), "--keep-local"])
    assert "context" not in job.stderr, "it was read as it is"
    short = ["--max-context-tokens", "5", "--no-cache"]
    job = CliRunner().invoke(cli, ["generate", "When?", "--context", str(context), *short])
    assert re.search(r"context of \d+ tokens sent as [2-5]\b", job.stderr), job.stderr
