"""The engine over a server of `/v1` keeps what an engine promises, at the wire."""

from __future__ import annotations

import threading

import pytest

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineTimeout,
    InternalError,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.prompt import ToEmbed
from local_llm_service.worker.settings import Settings
from tests.conftest import wait_until
from tests.doubles.openai_calls import (
    HANG,
    SILENT,
    Open,
    Stop,
    ask,
    openai_engines,
    openai_server,
)
from tests.doubles.openai_server import OpenAiServer, Reply

__all__ = ["openai_engines", "openai_server"]  # fixtures


@pytest.mark.parametrize(
    "reply",
    [
        Reply(("Grüße, ", "\u2028𝕏"), bytes_at_once=1),
        Reply(("Grüße, ", "\u2028𝕏"), line_end="\r\n", pings=True),
        Reply(("Grüße, ", "\u2028𝕏"), line_end="\r", bytes_at_once=7),
        Reply(("Grüße, ", "\u2028𝕏"), escaped=True, end="no_done"),
        Reply(
            raw='data:{"choices":[{"delta":{"content":"Grüße, "}}]}\n\n'
            'event: x\nid: 1\ndata: {"choices":\ndata: [{"delta":{"content":"\u2028𝕏"},\n'
            'data: "finish_reason":"stop"}]}\n\n'.encode()
        ),
    ],
)
def test_any_form_of_a_stream_is_read(
    server: OpenAiServer, open_engine: Open, reply: Reply
) -> None:
    """A character may be cut in two, and a line ends at CR, LF or both, nowhere else."""
    server.say(reply)
    heard: list[str] = []
    assert ask(open_engine(), on_text=heard.append).text == "Grüße, \u2028𝕏"
    assert heard == ["Grüße, ", "\u2028𝕏"]


@pytest.mark.parametrize(("leaves", "connections"), [(True, 1), (False, 5)])
def test_a_connection_to_a_provider_serves_answer_after_answer(
    server: OpenAiServer, open_engine: Open, leaves: bool, connections: int
) -> None:
    """A new one costs a handshake there. At home each answer has its own: a server that closes one
    as the next request comes would look as if it had died of that."""
    engine = open_engine(leaves_the_house=leaves)
    before = server.connections
    for _ in range(5):
        ask(engine)
    assert server.connections - before == connections


def test_a_stop_closes_the_connection_at_once(server: OpenAiServer, open_engine: Open) -> None:
    """The server sees it, and ends its generation; what came before was handed out."""
    server.say(HANG)
    stop, heard = Stop(), list[str]()

    def take(piece: str) -> None:
        heard.append(piece)
        if len(heard) == 2:
            threading.Thread(target=stop.stop).start()

    with pytest.raises(Cancelled):
        ask(open_engine(), stoppable=stop, on_text=take)
    wait_until(lambda: server.requests[0].closed_at, "the server sees the connection closed")
    assert heard == ["Well", ","]


def test_a_stop_before_anything_is_sent_sends_nothing(
    server: OpenAiServer, open_engine: Open
) -> None:
    """As its reason is there already."""
    stop = Stop()
    stop.stop()
    with pytest.raises(Cancelled):
        ask(open_engine(), stoppable=stop)
    assert server.requests == []


def test_a_deadline_ends_the_generation(server: OpenAiServer, open_engine: Open) -> None:
    """Unless others still want the answer."""
    server.say(HANG, Reply(("slow",), first_seconds=0.1))
    engine = open_engine()
    with pytest.raises(DeadlineExceeded):
        ask(engine, seconds=0.05)
    assert ask(engine, seconds=0.05, stoppable=Stop(wanted=20)).text == "slow"
    wait_until(lambda: server.requests[0].closed_at, "the server sees the connection closed")


@pytest.mark.parametrize(("reply", "which"), [(SILENT, "first"), (HANG, "next")])
def test_a_token_that_does_not_come_ends_the_call(
    server: OpenAiServer, open_engine: Open, reply: Reply, which: str
) -> None:
    """Also where the server has not even answered with its headers."""
    server.say(reply)
    engine = open_engine({"first_token_seconds": 0.2, "next_token_seconds": 0.2})
    with pytest.raises(EngineTimeout, match=f"no {which} token"):
        ask(engine)


def test_who_leaves_before_the_first_token_leaves_an_occupied_slot(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Until the server answers one token: it may go on with the prompt. A provider is not asked."""
    server.say(SILENT, SILENT)
    at_home, away = open_engine(), open_engine(leaves_the_house=True)
    freed = threading.Event()
    at_home.on_free(freed.set)
    for engine in (at_home, away):
        with pytest.raises(DeadlineExceeded):
            ask(engine, seconds=0.05)
    assert freed.wait(10)
    assert at_home.occupied == away.occupied == 0
    assert len(server.probes) == 1


def test_a_server_that_is_not_there_is_unreachable(server: OpenAiServer, open_engine: Open) -> None:
    """The message names the engine; nothing of it is about Ollama."""
    engine = open_engine()
    server.stop()
    try:
        for call in (lambda: ask(engine), engine.version, engine.models):
            with pytest.raises(OllamaUnreachable, match="engine 'box' at http") as found:
                call()
            assert "ENGINES_FILE" in found.value.hint
    finally:
        server.start()
    assert ask(engine).text == "Hello."


@pytest.mark.parametrize(("leaves", "kind"), [(True, StreamBroken), (False, EngineDied)])
@pytest.mark.parametrize("reply", [Reply(end="cut"), Reply((), raw=b"data: {", end="cut")])
def test_a_connection_that_breaks_off_is_a_death_only_at_home(
    server: OpenAiServer, open_engine: Open, reply: Reply, leaves: bool, kind: type[ServiceError]
) -> None:
    """A prompt may kill a vLLM, and none kills a provider."""
    server.say(reply)
    with pytest.raises(kind):
        ask(open_engine(leaves_the_house=leaves))


def test_vectors_come_in_the_order_of_the_texts(server: OpenAiServer, open_engine: Open) -> None:
    """Sixteen texts at a time; of length 1."""
    texts = tuple(f"text {n}" for n in range(20))
    found = open_engine().embed(ToEmbed(texts), model="large", remaining_seconds=5)
    again = open_engine().embed(ToEmbed(texts[::-1]), model="large", remaining_seconds=5)
    assert found.vectors == again.vectors[::-1]
    assert len({tuple(one) for one in found.vectors}) == 20
    assert found.prompt_tokens == 40
    assert [len(one.body["input"]) for one in server.embedded] == [16, 4, 16, 4]


def test_an_engine_that_is_closed_ends_its_calls(server: OpenAiServer, open_engine: Open) -> None:
    """As a fault of the worker, not of the job."""
    server.say(HANG)
    engine = OpenAiEngine(FleetEngine("box", "openai_compatible", server.url), Settings())
    raised: list[Exception] = []

    def asking() -> None:
        try:
            ask(engine)
        except ServiceError as error:
            raised.append(error)

    thread = threading.Thread(target=asking)
    thread.start()
    wait_until(lambda: server.requests, "the server was asked")
    engine.close()
    thread.join(10)
    assert [type(one) for one in raised] == [InternalError]
