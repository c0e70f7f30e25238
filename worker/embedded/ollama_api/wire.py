"""The outer form of Ollama's answers: JSON as Go writes it, times, the lines of a chat."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

NANOSECONDS = 1_000_000_000
FOREVER_NANOSECONDS = 2**63 - 1  # Go's longest duration, 292 years


class ApiError(Exception):
    """Ends a request with `status` and {"error": message}.

    `late` marks errors that Ollama finds only after it has scheduled the model: to a streamed
    request they are sent in chunks, with a content type that carries no charset.
    """

    def __init__(self, status: int, message: str, late: bool = False) -> None:
        super().__init__(status, message, late)
        self.status = status
        self.message = message
        self.late = late


def dumps(value: Any) -> str:
    """Write compact JSON in which <, > and & are escaped, as Go's encoder does."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def rfc3339(unix_nanoseconds: int) -> str:
    """A time in UTC with its nanoseconds, trailing zeros cut, as Go prints it."""
    seconds, fraction = divmod(unix_nanoseconds, NANOSECONDS)
    # Not fromtimestamp: "for ever" is later than some platforms can express.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z"


def chunk(
    model: str,
    content: str,
    logprobs: list[Any] | None = None,
    tool_calls: list[Any] | None = None,
) -> dict[str, Any]:
    """Make one streamed line, or the start of a whole answer; `done` is still false."""
    record: dict[str, Any] = {
        "model": model,
        "created_at": rfc3339(time.time_ns()),
        "message": {"role": "assistant", "content": content},
        "done": False,
    }
    if tool_calls:
        record["message"]["tool_calls"] = tool_calls
    if logprobs:
        record["logprobs"] = logprobs
    return record


def finished(record: dict[str, Any], reason: str, counts: dict[str, int]) -> dict[str, Any]:
    """Make `record` the last one: add why the answer ended, its token counts and durations.

    `counts` are the fields from total_duration to eval_duration; durations are in nanoseconds.
    """
    ended = {**record, "done": True, "done_reason": reason}
    if "logprobs" in ended:
        ended["logprobs"] = ended.pop("logprobs")  # Ollama's order of fields
    return {**ended, **counts}
