"""A program of many steps, for tests: each line of a summary's `context` is a piece, then one step
joins them. It stands in for `summarize`, whose own pieces no test could count beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from local_llm_service import tasks
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.steps.protocol import Program, Steps
from local_llm_service.worker.prompt import Prompt


def read_pieces(request: Any, ask: Steps) -> Mapping[str, object]:
    """One shared step for each line; then the lines' answers in one."""
    lines = request.context.splitlines()
    read = []
    for number, line in enumerate(lines):
        ask.progress(number, len(lines) + 1, "reading")
        read.append(ask(prompt_of(line, spoken=False), shared=True).text)
    ask.progress(len(lines), len(lines) + 1, "joining")
    return summary_of(ask(prompt_of("join " + " ".join(read))).text)


def second_try(request: Any, ask: Steps) -> Mapping[str, object]:
    """Two spoken steps; the second one's text is the answer."""
    first = ask(prompt_of(request.context))
    ask(prompt_of("count", spoken=False))
    return summary_of(ask(prompt_of(f"shorter: {first.text}")).text)


def prompt_of(text: str, *, spoken: bool = True, **more: Any) -> Prompt:
    """A prompt with this text alone."""
    return Prompt(({"role": "user", "content": text},), 100, spoken=spoken, **more)


def summary_of(text: str) -> Mapping[str, object]:
    """The fields of a summary, of which the text alone is told."""
    return {"summary": text, "original_tokens": 0, "summary_tokens": 0, "tokens_saved": 0}


@contextmanager
def working_by(program: Program, task: Any = tasks.summarize) -> Iterator[None]:
    """In this process and block, a kind is this program."""
    kind: Kind = task.kind
    task.kind = replace(kind, work=program)
    try:
        yield
    finally:
        task.kind = kind
