"""Text arrives while it is written, in order, and together it is the answer."""

from __future__ import annotations

import threading

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import StreamBroken
from tests.conformance.calls import ask, prompt
from tests.conformance.subject import Scene, Scripted, Subject


def test_the_pieces_together_are_the_text(subject: Subject, engine: Engine) -> None:
    """None is empty, and all are there when the call returns."""
    heard: list[str] = []
    completion = ask(engine, subject, on_text=heard.append)
    at_the_end = list(heard)
    assert completion.text == "".join(at_the_end) != ""
    assert "" not in at_the_end
    assert len(at_the_end) > 1
    assert ask(engine, subject).text == completion.text
    assert heard == at_the_end


def test_pieces_come_as_the_server_sends_them(scripted: Scripted, engine: Engine) -> None:
    """The first is there while the server still writes; all come on the engine's own thread."""
    scripted.play(Scene(pause_seconds=0.05))
    heard: list[tuple[str, bool, str]] = []

    def sink(piece: str) -> None:
        heard.append((piece, scripted.at_work(), threading.current_thread().name))

    ask(engine, scripted, on_text=sink)
    assert tuple(piece for piece, _, _ in heard) == Scene().pieces
    assert heard[0][1]
    (thread,) = {name for _, _, name in heard}
    assert thread != threading.current_thread().name


def test_a_sink_that_raises_costs_nobody_but_itself(subject: Subject, engine: Engine) -> None:
    """Neither the answer nor the engine, whatever it raises; it is not called again."""
    expected = ask(engine, subject).text
    heard: list[str] = []

    def broken(piece: str) -> None:
        heard.append(piece)
        raise SystemExit(1)

    assert ask(engine, subject, on_text=broken).text == expected
    assert len(heard) == 1
    assert ask(engine, subject).text == expected


@pytest.mark.parametrize("end", ["cut", "silent", "error"])
def test_the_text_before_a_break_is_handed_out(
    scripted: Scripted, engine: Engine, end: str
) -> None:
    """The call fails as a broken stream, and no piece comes twice or afterwards."""
    scripted.play(Scene(end=end))  # type: ignore[arg-type]
    heard: list[str] = []
    with pytest.raises(StreamBroken):
        ask(engine, scripted, on_text=heard.append)
    assert tuple(heard) == Scene().pieces
    assert len(scripted.heard()) == 1  # a broken answer is repeated by who asked, not here


@pytest.mark.parametrize("end", ["cut", "silent", "error"])
def test_a_break_before_the_first_piece_hands_out_nothing(
    scripted: Scripted, engine: Engine, end: str
) -> None:
    """It is no empty answer, and the next call is answered."""
    scripted.play(Scene(pieces=(), end=end))  # type: ignore[arg-type]
    heard: list[str] = []
    with pytest.raises(StreamBroken):
        ask(engine, scripted, on_text=heard.append)
    assert heard == []
    scripted.play(Scene())
    assert ask(engine, scripted).text == "".join(Scene().pieces)


def test_an_answer_may_be_empty(scripted: Scripted, engine: Engine) -> None:
    """A model that says nothing has answered."""
    scripted.play(Scene(pieces=(), completion_tokens=1))
    heard: list[str] = []
    completion = ask(engine, scripted, on_text=heard.append)
    assert (completion.text, completion.finish_reason, heard) == ("", "stop", [])


def test_an_answer_of_many_pieces_is_whole(scripted: Scripted, engine: Engine) -> None:
    """Two thousand, as fast as the server writes, with every kind of character."""
    pieces = tuple(f'{n} ä€\U0001f30d\n\t"\\ \u2028' for n in range(2000))
    scripted.play(Scene(pieces=pieces))
    heard: list[str] = []
    completion = ask(engine, scripted, prompt(max_tokens=4000, in_sentences=False),
                     on_text=heard.append)  # fmt: skip
    assert completion.text == "".join(pieces) == "".join(heard)
