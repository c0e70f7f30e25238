"""A reader of a text gets each character once, whatever is lost, late, repeated or begun again."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.producers.text_reader import TextReader
from local_llm_service.tasks.answer import Timings, Usage
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.tasks.structured_output import StructuredAnswer
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.store.texts import TextLook

COMMON = {
    "task_id": "1",
    "model": "m",
    "origin": "computed",
    "finish_reason": "stop",
    "usage": Usage(prompt_tokens=1, completion_tokens=1),
    "timings": Timings(
        queued_seconds=0, load_seconds=0, prompt_seconds=0, generation_seconds=0
    ),
}  # fmt: skip

Events = list[StreamEvent[GenerateAnswer]]


def answer(text: str) -> GenerateAnswer:
    """The job's answer."""
    return GenerateAnswer.model_validate({**COMMON, "kind": "generate", "text": text})


class Server:
    """One job as Redis knows it: read_text.lua and write_text.lua in a few lines."""

    def __init__(self) -> None:
        self.runs = 0
        self.kept: tuple[str, str, bool] | None = None  # run, text, complete
        self.current = ""
        self.certain = ""
        self.outcome: GenerateAnswer | ServiceError | None = None

    def begin(self) -> None:
        """The job is taken."""
        self.runs += 1
        self.current = f"{self.runs:012x}"

    def write(self, text: str) -> bytes:
        """Add to the run's text; return what is published."""
        before = self.text
        self.kept = (self.current, before + text, False)
        return b"t%s %d %s" % (self.current.encode(), len(before), text.encode())

    def complete(self) -> None:
        """The model has ended."""
        self.kept = (self.current, self.text, True)

    def end(self, outcome: GenerateAnswer | ServiceError) -> None:
        """Store the result."""
        self.outcome = outcome
        self.certain = self.current if self.kept and self.kept[0] == self.current else ""

    @property
    def text(self) -> str:
        return self.kept[1] if self.kept and self.kept[0] == self.current else ""

    def look(self, reader: TextReader[GenerateAnswer]) -> Events:
        """Let a reader look."""
        run, known = self.current, reader.from_bytes
        if self.outcome is not None:
            is_failure = isinstance(self.outcome, ServiceError)
            run = self.certain or (reader.run if is_failure else "")
        has_text = self.kept is not None and run != "" and self.kept[0] == run
        _, text, is_complete = self.kept if self.kept and has_text else ("", "", False)
        data = text.encode()
        start = known if run == reader.run and known <= len(data) else 0
        return reader.looked(
            TextLook(
                state="",
                has_ended=self.outcome is not None,
                result="x" if self.outcome else "",
                fingerprint="",
                run=run if has_text else "",
                is_complete=is_complete,
                from_bytes=start,
                text=data[start:].decode(),
            ),
            self.outcome,
        )


def text_after_last_restart(events: Iterable[StreamEvent[GenerateAnswer]], before: str = "") -> str:
    """What a person has on the screen who had `before` when the events began."""
    for event in events:
        before = "" if event.type == "restart" else before + event.text
    return before


def running(*pieces: str) -> Server:
    """A job that runs and has written these pieces."""
    server = Server()
    server.begin()
    for piece in pieces:
        server.write(piece)
    return server


def shown(events: Events) -> list[str]:
    """The events in short."""
    return [event.text if event.type == "text" else f"<{event.type}>" for event in events]


# --- the rules, one by one --------------------------------------------------------------------


def test_a_reader_hears_what_follows_without_a_look() -> None:
    """A message that continues exactly what was given is enough."""
    server = running("Once ")
    reader = TextReader[GenerateAnswer]()
    assert shown(server.look(reader)) == ["Once "]
    assert shown(reader.heard(server.write("upon ")) or []) == ["upon "]


def test_a_gap_asks_for_a_look() -> None:
    """A message was lost: the next one does not continue what was given."""
    server = running("Once ")
    reader = TextReader[GenerateAnswer]()
    server.look(reader)
    server.write("upon ")
    assert reader.heard(server.write("a time")) is None
    assert shown(server.look(reader)) == ["upon a time"]


def test_a_message_that_was_given_already_says_nothing() -> None:
    """The look came before it."""
    server = running()
    reader = TextReader[GenerateAnswer]()
    late = server.write("Once")
    server.look(reader)
    assert reader.heard(late) == []


@pytest.mark.parametrize(
    "message", [b"look", b"", b"t", b"txyz", b't1 x "', b"tffff 0 other", b"{}", b"t1 0 \xff"]
)
def test_any_other_message_asks_for_a_look(message: bytes) -> None:
    """Also one that nobody of this service wrote."""
    server, reader = running("a"), TextReader[GenerateAnswer]()
    server.look(reader)
    assert reader.heard(message) is None


def test_a_new_run_is_told() -> None:
    """The worker died: what was read is no part of the answer."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    server.look(reader)
    server.begin()
    assert shown(server.look(reader)) == []
    assert reader.heard(server.write("There ")) is None
    assert shown(server.look(reader)) == ["<restart>", "There "]


def test_who_has_read_nothing_is_told_of_no_restart() -> None:
    """There is nothing to throw away."""
    server, reader = running(), TextReader[GenerateAnswer]()
    server.write("")
    server.look(reader)
    server.begin()
    server.write("There")
    assert shown(server.look(reader)) == ["There"]


def test_the_end_comes_after_the_rest() -> None:
    """With the typed answer."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    server.look(reader)
    server.write("upon")
    server.complete()
    server.end(answer("Once upon"))
    events = server.look(reader)
    assert shown(events) == ["upon", "<end>"]
    assert events[-1].answer == answer("Once upon")
    assert reader.has_ended


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Cancelled("x"), "cancelled"),
        (DeadlineExceeded("x"), "failed"),
        (StreamBroken("x"), "failed"),
    ],
)
def test_a_failure_comes_after_what_was_written(error: ServiceError, word: str) -> None:
    """It is an event, not an exception."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    server.end(error)
    events = server.look(reader)
    assert shown(events) == ["Once ", f"<{word}>"]
    assert events[-1].error is error


def test_a_cached_answer_is_one_piece() -> None:
    """No run has written it."""
    server = Server()
    server.end(answer("Once upon"))
    assert shown(server.look(TextReader())) == ["Once upon", "<end>"]


def test_what_redis_did_not_take_comes_from_the_answer() -> None:
    """The text outgrew its bound, or Redis was full."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    server.look(reader)
    server.end(answer("Once upon"))
    assert shown(server.look(reader)) == ["upon", "<end>"]


def test_an_answer_that_is_another_text_begins_anew() -> None:
    """Its run wrote no text that could be read."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    server.look(reader)
    server.kept = None
    server.end(answer("There was"))
    assert shown(server.look(reader)) == ["<restart>", "There was", "<end>"]


def test_json_kinds_stream_their_raw_text() -> None:
    """What the model wrote, fences and all; the answer holds what was read from it."""
    server, reader = running('```{"a"'), TextReader[GenerateAnswer]()
    server.look(reader)
    server.write(": 1}```")
    server.complete()
    data = {**COMMON, "kind": "structured_output", "data": {"a": 1}}
    server.end(StructuredAnswer.model_validate(data))  # type: ignore[arg-type]
    assert shown(server.look(reader)) == [": 1}```", "<end>"]


def test_a_lost_part_that_is_written_again_is_not_given_twice() -> None:
    """Redis was restarted and has lost its last second."""
    server, reader = running("Once ", "upon "), TextReader[GenerateAnswer]()
    server.look(reader)
    server.kept = (server.current, "Once ", False)
    assert shown(server.look(reader)) == []
    server.kept = (server.current, "Once upon a time", False)
    assert shown(server.look(reader)) == ["a time"]


# --- offsets ----------------------------------------------------------------------------------


def test_an_offset_of_the_run_that_counts_goes_on() -> None:
    """In another process, which knows nothing but the offset."""
    server, reader = running("Oncé 𝔞"), TextReader[GenerateAnswer]()
    offset = server.look(reader)[-1].offset
    server.write("upon")
    assert shown(server.look(TextReader(offset))) == ["upon"]


def test_an_offset_of_an_older_run_begins_anew() -> None:
    """Whoever kept the text before it has to throw it away."""
    server, reader = running("Once "), TextReader[GenerateAnswer]()
    offset = server.look(reader)[-1].offset
    server.begin()
    server.write("There")
    assert shown(server.look(TextReader(offset))) == ["<restart>", "There"]


def test_an_offset_past_the_text_begins_anew() -> None:
    """Nobody can have read so far."""
    server = running("Once ")
    assert shown(server.look(TextReader(f"{server.current}.6"))) == ["<restart>", "Once "]


def test_an_offset_in_an_answer_goes_on() -> None:
    """Of a cached job, or of one whose text is gone."""
    server = Server()
    server.end(answer("Once upon"))
    events = server.look(TextReader())
    assert shown(server.look(TextReader(events[0].offset))) == ["<end>"]
    assert shown(server.look(TextReader("0.5"))) == ["upon", "<end>"]
    assert shown(server.look(TextReader("0.10"))) == ["<restart>", "Once upon", "<end>"]


@pytest.mark.parametrize(
    "offset", ["", "5", ".", "a.", ".5", "a.b", "a.-1", "a.5 ", "A.5", "a.٣", "a.5.6", 5, b"a.5",
    f"a.{'9' * 16}", f"{'a' * 41}.5"],
)  # fmt: skip
def test_what_is_no_offset_is_refused(offset: str) -> None:
    """At once, and without a look."""
    with pytest.raises(InvalidRequest, match="after"):
        TextReader(offset)


# --- all of it at once ------------------------------------------------------------------------

PIECES = st.text(
    st.sampled_from("ab é\n\u0301\u200d👩🏽𝔞\x00 ") | st.characters(exclude_categories=["Cs"]),
    max_size=4,
)
MOVES = st.lists(st.tuples(st.sampled_from("wwwwwwbmlr"), PIECES), max_size=30)


@settings(max_examples=400, deadline=None)
@given(
    moves=MOVES,
    seed=st.integers(0, 1 << 30),
    ends=st.sampled_from(["whole", "cut", "failed"]),
)
def test_whoever_reads_sees_the_text_of_the_last_run(
    moves: list[tuple[str, str]], seed: int, ends: str
) -> None:
    """Several readers, with lost, late and repeated messages, reconnects and restarts.

    w: a piece is written; b: the job begins again; m: Redis loses the end of the text, which is
    then written again; l: all look; r: a new reader comes, late or from an offset.
    """
    chance, server = random.Random(seed), Server()
    server.begin()
    readers: list[tuple[TextReader[GenerateAnswer], Events, str]] = []
    letters: list[bytes] = []

    def come(offset: str | None = None, before: str = "") -> None:
        readers.append((TextReader(offset), [], before))

    def deliver() -> None:
        for reader, events, _ in readers:
            for letter in chance.sample(letters[-6:], chance.randint(0, min(6, len(letters)))):
                heard = reader.heard(letter)
                events += (
                    server.look(reader) if heard is None and chance.random() < 0.8 else heard or []
                )

    come()
    for move, piece in moves:
        if move == "w":
            letters.append(server.write(piece))
        elif move == "b":
            server.begin()
        elif move == "m":
            whole = server.text
            server.kept = (server.current, whole[: chance.randint(0, len(whole))], False)
            deliver()
            for reader, events, _ in chance.sample(readers, chance.randint(0, len(readers))):
                events += server.look(reader)
            server.kept = (server.current, whole, False)
        elif move == "l":
            for reader, events, _ in readers:
                events += server.look(reader)
        elif len(readers) < 6:
            _, events, before = chance.choice(readers)
            cut = chance.randint(0, len(events))
            seen = text_after_last_restart(events[:cut], before)
            come(events[cut - 1].offset if cut else None, seen if cut else "")
        if chance.random() < 0.7:
            deliver()
    whole = server.text
    if ends == "whole":
        server.complete()
    elif ends == "cut":  # it outgrew its bound
        server.kept = (server.current, whole[: len(whole) // 2], False)
    server.end(StreamBroken("x") if ends == "failed" else answer(whole))
    for reader, events, before in readers:
        events += server.look(reader)
        assert reader.has_ended
        screen = text_after_last_restart(events, before)
        # A run that failed before its first piece leaves its readers what another wrote.
        if ends != "failed" or (server.kept is not None and server.kept[0] == server.current):
            assert screen == whole
        assert all(event.text for event in events if event.type == "text")
