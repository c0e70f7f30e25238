"""The records that Ollama's API replies with, member by member in Ollama's order. Pure.

A reply of `chat` holds a `message`, one of `generate` a `response`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NANOSECONDS = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """A time since 1970, as Go writes it in UTC."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


@dataclass(frozen=True)
class Records:
    """The records of one call, which began when this was made.

    `model` is the name that the caller gave; where that is a route's, `route` in the last record
    says which model has answered. `in_message`: the text is in a message.
    """

    model: str
    in_message: bool
    began_ns: int = field(default_factory=time.monotonic_ns)

    def piece(
        self,
        text: str,
        calls: Sequence[Mapping[str, Any]] = (),
        logprobs: Sequence[Any] = (),
    ) -> dict[str, Any]:
        """A line of a stream: text, or what has come beside it."""
        record = self._record(text, calls) | {"done": False}
        return record | ({"logprobs": list(logprobs)} if logprobs else {})

    def last(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The last line of a stream, which holds no text."""
        return self._record("") | self._end(answer)

    def whole(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The one record of a reply that is not streamed."""
        message, end = answer["message"], self._end(answer)
        if answer.get("logprobs"):
            end = {**_first(end, 2), "logprobs": answer["logprobs"], **end}
        return self._record(message["content"], calls_in(answer)) | end

    def loaded(self, *, unloads: bool = False) -> dict[str, Any]:
        """The reply to a call that asks for nothing but the model."""
        done = {"done": True, "done_reason": "unload" if unloads else "load"}
        return self._record("") | done

    def _record(self, text: str, calls: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        record: dict[str, Any] = {"model": self.model, "created_at": rfc3339(time.time_ns())}
        if not self.in_message:
            return record | {"response": text}
        message: dict[str, Any] = {"role": "assistant", "content": text}
        return record | {"message": message | ({"tool_calls": list(calls)} if calls else {})}

    def _end(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        usage, timings = answer["usage"], answer["timings"]
        route = {"route": answer["route"]} if answer.get("route") else {}
        return {
            "done": True,
            "done_reason": "length" if answer["finish_reason"] == "length" else "stop",
            "total_duration": self.passed(),
            "load_duration": _nanoseconds(timings["load_seconds"]),
            "prompt_eval_count": usage["prompt_tokens"],
            "prompt_eval_duration": _nanoseconds(timings["prompt_seconds"]),
            "eval_count": usage["completion_tokens"],
            "eval_duration": _nanoseconds(timings["generation_seconds"]),
            **route,
        }

    def passed(self) -> int:
        """Nanoseconds since the call began, with its wait in the queue."""
        return time.monotonic_ns() - self.began_ns


def calls_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of an answer, as Ollama writes them: the arguments are an object."""
    calls = answer["message"].get("tool_calls") or ()
    return [
        {"id": call["id"], "function": {"index": place, **call["function"]}}
        for place, call in enumerate(calls)
    ]


def _first(record: Mapping[str, Any], count: int) -> dict[str, Any]:
    return dict(list(record.items())[:count])


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
