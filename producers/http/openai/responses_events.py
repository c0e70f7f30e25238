"""The events of a streamed response, each with its number.

A number says the same in every process and at any time, so that any replica goes on after any of
them: the events at the beginning and at the end have fixed ones, and the number of a piece of text
is the place in the text after it. A run of the job that writes another text has numbers of its own.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local_llm_service.producers.http.event_stream import sse
from local_llm_service.producers.http.openai.responses_object import (
    ResponseFacts,
    answered,
    failed,
    message_item,
    pending,
    text_part,
)
from local_llm_service.producers.http.replies import one_line
from local_llm_service.worker.errors import InvalidRequest, ServiceError

CREATED, QUEUED, IN_PROGRESS, ITEM_ADDED, PART_ADDED = range(5)
#: Numbers of one text. The longest that a model here can write is a tenth of it.
TEXT_NUMBERS = 10_000_000
#: Of the first event after the text, and of the last one of all; they fit into 32 bits.
FIRST_OF_END, LAST = 1_000_000_000, 2_000_000_000
TEXTS_MOST = FIRST_OF_END // TEXT_NUMBERS


@dataclass(frozen=True)
class Place:
    """A place in a text: which of the texts that were told, and the characters before it."""

    text: int
    characters: int

    @property
    def number(self) -> int:
        """The number of the event that ends there."""
        return self.text * TEXT_NUMBERS + PART_ADDED + self.characters


def place_after(number: int) -> Place | None:
    """Where in which text a reader is who has read up to `number`; None: at no text's inside."""
    if number <= PART_ADDED or number >= FIRST_OF_END:
        return None
    return Place(number // TEXT_NUMBERS, number % TEXT_NUMBERS - PART_ADDED)


class ResponseEvents:
    """The events of one response for one reader, who has those up to `after`."""

    def __init__(self, facts: ResponseFacts, after: int = -1) -> None:
        self._facts, self._after = facts, after
        self._item_id = f"msg_{facts.task_id}"
        self._last = max(after, 0)
        self._runs = after >= IN_PROGRESS
        self._has_message = after >= PART_ADDED

    def begin(self) -> Iterator[bytes]:
        """The response is there."""
        queued = pending(self._facts, "queued")
        yield from self._event("created", CREATED, response=queued)
        yield from self._event("queued", QUEUED, response=queued)

    def run(self) -> Iterator[bytes]:
        """The model is at work; may be said again."""
        if not self._runs:
            self._runs = True
            running = pending(self._facts, "in_progress")
            yield from self._event("in_progress", IN_PROGRESS, response=running)

    def text(self, piece: str, place: Place) -> Iterator[bytes]:
        """A piece of the text, which ends at `place`."""
        yield from self._message()
        here = self._part(delta=piece, logprobs=[])
        yield from self._event("output_text.delta", place.number, **here)

    def end(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        """The answer is there."""
        whole = answered(self._facts, answer)
        yield from self.run()
        number = FIRST_OF_END
        for index, item in enumerate(whole["output"]):
            if item["type"] == "message":
                yield from self._message()
                steps = self._message_ends(item)
            else:
                steps = _call(item, index)
            for name, members in steps:
                yield from self._event(name, number, **members)
                number += 1
        yield from self._event(whole["status"], LAST, response=whole)

    def fail(self, error: ServiceError) -> Iterator[bytes]:
        """The job has failed, or was cancelled."""
        yield from self.run()
        yield from self._event("failed", LAST, response=failed(self._facts, error))

    def broken(self, error_object: Mapping[str, Any]) -> bytes:
        """This stream cannot go on, whatever becomes of the response. It has the number of the
        event before it: whoever comes back begins there. By `error` the official client raises."""
        told = {name: error_object[name] for name in ("code", "message", "param")}
        data = {"type": "error", "sequence_number": self._last, **told, "error": {**error_object}}
        return sse(one_line(data), event="error")

    def _message(self) -> Iterator[bytes]:
        if self._has_message:
            return
        self._has_message = True
        yield from self.run()
        item = message_item(self._facts.task_id, "in_progress", [])
        yield from self._event("output_item.added", ITEM_ADDED, output_index=0, item=item)
        here = self._part(part=text_part(""))
        yield from self._event("content_part.added", PART_ADDED, **here)

    def _message_ends(self, item: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        (part,) = item["content"]
        text = self._part(text=part["text"], logprobs=part["logprobs"])
        return [
            ("output_text.done", text),
            ("content_part.done", self._part(part=part)),
            ("output_item.done", {"output_index": 0, "item": item}),
        ]

    def _part(self, **members: Any) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0, **members}

    def _event(self, name: str, number: int, /, **members: Any) -> Iterator[bytes]:
        if number <= self._after:
            return
        self._last = number
        data = {"type": f"response.{name}", "sequence_number": number, **members}
        yield sse(one_line(data), event=f"response.{name}")


def _call(item: Mapping[str, Any], index: int) -> list[tuple[str, dict[str, Any]]]:
    """The events of one call, which comes as a whole."""
    here = {"item_id": item["id"], "output_index": index}
    arguments = item["arguments"]
    begun = {**item, "status": "in_progress", "arguments": ""}
    done = {**here, "name": item["name"], "arguments": arguments}
    return [
        ("output_item.added", {"output_index": index, "item": begun}),
        ("function_call_arguments.delta", {**here, "delta": arguments}),
        ("function_call_arguments.done", done),
        ("output_item.done", {"output_index": index, "item": item}),
    ]


def not_ours() -> InvalidRequest:
    """The error for a `starting_after` that is the number of no event."""
    return InvalidRequest(
        "starting_after: is the sequence_number of no event of this response",
        "Give the last sequence_number that came, or leave it out.",
    )
