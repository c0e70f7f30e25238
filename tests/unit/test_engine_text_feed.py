"""The feed passes an answer to its sink in order, until the sink fails or the call is over."""

import asyncio
import logging
import threading

import pytest

from local_llm_service.worker.engine.text_feed import TextFeed

PIECES = ("a sec", "ret ", "answer")


class Sink:
    """Keeps the pieces it gets; raises `error` at piece number `at`, counted from 0."""

    def __init__(self, error: BaseException | None = None, at: int = 0) -> None:
        self.heard: list[str] = []
        self._error, self._at = error, at

    def __call__(self, piece: str) -> None:
        self.heard.append(piece)
        if self._error is not None and len(self.heard) > self._at:
            raise self._error


def send_all(feed: TextFeed) -> None:
    """Send every piece of the answer."""
    for piece in PIECES:
        feed.send(piece)


def test_a_sink_gets_every_piece_in_order() -> None:
    """The sink is called once for each piece, unchanged."""
    sink = Sink()
    send_all(TextFeed(sink))
    assert tuple(sink.heard) == PIECES


def test_without_a_sink_no_text_is_passed_on() -> None:
    """Most jobs are not streamed."""
    send_all(TextFeed(None))


@pytest.mark.parametrize(
    "error",
    [ValueError("a secret answer"), asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_a_sink_that_fails_is_left_alone_from_then_on(error: BaseException) -> None:
    """Its reader sees text that ends early, never text with a gap; the answer goes on."""
    sink = Sink(error, at=1)
    send_all(TextFeed(sink))
    assert tuple(sink.heard) == PIECES[:2]


def test_the_warning_about_a_sink_holds_no_text(caplog: pytest.LogCaptureFixture) -> None:
    """The warning is one line with the error's type, because its message may quote the answer."""
    with caplog.at_level(logging.DEBUG):
        send_all(TextFeed(Sink(ValueError("a secret answer"))))
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_closed_feed_passes_nothing_on() -> None:
    """A stream that has yet to end must not write after its answer."""
    sink = Sink()
    feed = TextFeed(sink)
    feed.close()
    send_all(feed)
    assert sink.heard == []


def test_closing_waits_for_the_piece_under_way() -> None:
    """The closer may write an end mark after the last piece."""
    order: list[str] = []
    entered, let_go = threading.Event(), threading.Event()

    def slow(piece: str) -> None:
        entered.set()
        assert let_go.wait(10)
        order.append(piece)

    feed = TextFeed(slow)
    sending = threading.Thread(target=feed.send, args=("piece",))
    closing = threading.Thread(target=lambda: (feed.close(), order.append("closed")))
    sending.start()
    assert entered.wait(10)
    closing.start()
    assert order == []
    let_go.set()
    sending.join(10)
    closing.join(10)
    assert order == ["piece", "closed"]
