"""Output and exit codes of the command line: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from enum import IntEnum
from typing import Any

from local_llm_service.producers.cli.terminal import write
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
    NOT_WRITTEN = 6
    INTERRUPTED = 130


def say(text: str) -> None:
    """Print a text on stdout; on a terminal, control characters are shown as escapes."""
    write(text, sys.stdout)


def say_piece(text: str) -> None:
    """Print a part of a line on stdout at once; control characters as `say`."""
    write(text, sys.stdout, end="")
    sys.stdout.flush()


def show_json(value: object) -> None:
    """Print one JSON document."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def note(text: str) -> None:
    """Print a remark beside the answer, on stderr; nothing if that cannot be written."""
    with suppress(OSError):
        write(text, sys.stderr)
        sys.stderr.flush()


def fail(error: ServiceError, as_json: bool, code: Exit) -> Exit:
    """Print an error and its hint; return `code`."""
    if as_json:
        show_json({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    else:
        note(f"{error.code}: {error.message.removesuffix('.')}. {error.hint}".rstrip())
    return code


def show_answer(answer: dict[str, Any], as_json: bool) -> None:
    """Print an answer: as JSON in full, otherwise its text, and a line of numbers on stderr."""
    if as_json:
        show_json(answer)
        return
    say(text_of(answer, indent=2))
    note(f"task {answer['task_id']}  {numbers(answer)}")


def numbers(answer: dict[str, Any]) -> str:
    """One line about an answer: model, origin, tokens, seconds, how it ended."""
    usage, timings = answer["usage"], answer["timings"]
    seconds = sum(value for name, value in timings.items() if name != "queued_seconds")
    parts = [
        answer["model"],
        *_ORIGINS.get(answer["origin"], ()),
        f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens",
        f"{seconds:.1f} s",
        f"{timings['queued_seconds'] or 0:.1f} s in the queue",
    ]
    if route := answer.get("route"):
        parts += [f"route: {route['reason']}"]
        parts += [f"{one['model']} before: {one['reason']}" for one in route["tried"]]
    if paid := answer.get("paid_usd"):
        parts.append(f"{paid:.6f} USD paid")
    if (use := answer.get("context")) and use["saved_tokens"]:
        parts.append(f"context of {use['tokens']} tokens sent as {use['sent_tokens']}")
        if use["saved_usd"] > 0:
            parts.append(f"{use['saved_usd']:.6f} USD saved")
    if "tokens_saved" in answer:
        saved = answer["tokens_saved"]
        parts.append(f"{saved} tokens saved" if saved >= 0 else f"{-saved} tokens more than before")
    if answer.get("steps", 1) > 1:
        parts.append(f"{answer['steps']} steps")
    parts += _ENDINGS.get(answer["finish_reason"], ())
    parts += [
        f"{word}: {', '.join(answer[word])}"
        for word in ("missing", "ungrounded", "defaulted")
        if answer.get(word)
    ]
    return "  ".join(parts)


#: What the line says of how an answer ended.
_ENDINGS = {
    "length": ("stopped at its token budget",),
    "unchanged": ("unchanged, as it fits",),
}


#: What the line says of an answer that was not generated for this job.
_ORIGINS = {"cached": ("from the cache",), "joined": ("joined to an identical job",)}
