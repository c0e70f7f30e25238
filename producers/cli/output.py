"""Output and exit codes of the command line: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import Any

from local_llm_service.tasks.answer import text_of
from local_llm_service.worker.errors import ServiceError


class Exit(IntEnum):
    """The exit codes, which scripts rely on."""

    ANSWER = 0
    JOB_FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    NOT_READY = 4
    UNKNOWN_ID = 5
    INTERRUPTED = 130


def show_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def note(text: str) -> None:
    """Print a remark beside the answer, on stderr."""
    print(text, file=sys.stderr, flush=True)


def fail(error: ServiceError, as_json: bool, code: Exit) -> Exit:
    """Print an error and its hint; return `code`."""
    if as_json:
        show_json({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    else:
        note(f"{error.code}: {error.message}. {error.hint}".rstrip())
    return code


def show_answer(answer: dict[str, Any], as_json: bool) -> None:
    """Print an answer: as JSON in full, otherwise its text, and a line of numbers on stderr."""
    if as_json:
        show_json(answer)
        return
    print(text_of(answer, indent=2))
    note(f"task {answer['task_id']}  {numbers(answer)}")


def numbers(answer: dict[str, Any]) -> str:
    """One line about an answer: model, tokens, seconds, how it ended."""
    usage, timings = answer["usage"], answer["timings"]
    seconds = sum(value for name, value in timings.items() if name != "queued_seconds")
    parts = [
        answer["model"],
        f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens",
        f"{seconds:.1f} s",
        f"{timings['queued_seconds'] or 0:.1f} s in the queue",
    ]
    if "tokens_saved" in answer:
        parts.append(f"{answer['tokens_saved']} tokens saved")
    if answer["finish_reason"] == "length":
        parts.append("stopped at its token budget")
    return "  ".join(parts)
