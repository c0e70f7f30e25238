"""Classes and functions of a caller's own, through both clients, a real Redis and a real worker."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from local_llm_service import AsyncClient, Client, LocalLLMService
from local_llm_service import tasks as celery_tasks
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import KEYS

SHARED_WORKER = {"CONCURRENCY": "2"}
pytestmark = pytest.mark.usefixtures("shared_worker")


class Author(BaseModel):
    name: str
    born: dt.date | None = None


class Book(BaseModel):
    """A book."""

    title: str
    authors: list[Author]
    form: Literal["novel", "poem"]

    @field_validator("title")
    @classmethod
    def _title(cls, title: str) -> str:
        if title == "geheim":
            raise ValueError(f"{title} is no title")
        return title


BOOK = {"title": "Moby-Dick", "authors": [{"name": "Melville", "born": "1819-08-01"}]}
BOOK |= {"form": "novel"}


def book_room(room: str, day: dt.date, people: int = 2) -> None:
    """Books a room.

    :param day: When.
    """


#: One call of one of the clients, waited for: (method, arguments, options).
Asked = Callable[..., Any]


def in_a_thread(method: str, *arguments: Any, **options: Any) -> Any:
    """Client."""
    return getattr(Client(), method)(*arguments, **options).result(30)


def in_a_loop(method: str, *arguments: Any, **options: Any) -> Any:
    """AsyncClient."""

    async def ask() -> Any:
        async with AsyncClient() as client:
            return await (await getattr(client, method)(*arguments, **options)).result(30)

    return asyncio.run(ask())


FACES = pytest.mark.parametrize("asked", [in_a_thread, in_a_loop])


@pytest.fixture
def writes(shared_ollama: FakeOllama) -> Callable[[Any], None]:
    """Let the model write this value as JSON."""

    def write(value: Any) -> None:
        shared_ollama.respond = lambda _: Script(chunks=(json.dumps(value),))
        shared_ollama.seen.clear()

    return write


@FACES
def test_a_class_as_schema_gives_an_instance(
    asked: Asked, writes: Callable[[Any], None], shared_ollama: FakeOllama
) -> None:
    """The model's server gets the JSON Schema; only the caller's process knows the class."""
    writes(BOOK)
    answer = asked("structured_output", f"Moby-Dick for {asked.__name__}", Book)
    assert answer.data == Book(
        title="Moby-Dick",
        authors=[Author(name="Melville", born=dt.date(1819, 8, 1))],
        form="novel",
    )
    assert shared_ollama.seen[0].body["format"]["properties"]["title"] == {"type": "string"}
    again = asked("structured_output", f"Moby-Dick for {asked.__name__}", Book)
    assert (again.origin, again.data) == ("cached", answer.data)
    assert Client().job(answer.task_id).result(5).data == BOOK


@FACES
def test_a_class_may_ask_for_more_than_a_schema(
    asked: Asked, writes: Callable[[Any], None]
) -> None:
    """Then the caller learns which field it refuses; no word of the model is in the error."""
    writes({**BOOK, "title": "geheim"})
    with pytest.raises(InvalidOutput, match="no valid Book: title: value_error") as refused:
        asked("structured_output", f"A secret for {asked.__name__}", Book)
    assert "geheim" not in repr(refused.value)


@FACES
def test_a_function_as_schema_gives_arguments_for_a_call(
    asked: Asked, writes: Callable[[Any], None], shared_ollama: FakeOllama
) -> None:
    """Its name and docstring are in the prompt."""
    writes({"room": "Eiger", "day": "2026-11-28"})
    answer = asked("extract_parameters", f"Eiger on 2026-11-28, {asked.__name__}", book_room)
    assert answer.arguments == {"room": "Eiger", "day": dt.date(2026, 11, 28), "people": 2}
    assert answer.parameters == {"room": "Eiger", "day": "2026-11-28", "people": 2}
    assert (answer.defaulted, answer.missing) == (["people"], [])
    instruction = shared_ollama.seen[0].body["messages"][-1]["content"]
    assert "book_room" in instruction
    assert "Books a room." in instruction
    assert "When." in instruction


@FACES
def test_a_bulk_call_takes_them_too(asked: Asked, writes: Callable[[Any], None]) -> None:
    """For all items, or for one; an instance that is refused is a value, too."""
    writes(BOOK)
    name = asked.__name__
    items: list[Any] = [f"one {name}", {"prompt": f"two {name}", "schema": list[Author]}]

    async def in_loop() -> list[Any]:
        async with AsyncClient() as client:
            return [one async for one in client.map("structured_output", items, schema=Book)]

    is_in_loop = asked is in_a_loop
    found = (
        asyncio.run(in_loop())
        if is_in_loop
        else list(Client().map("structured_output", items, schema=Book))
    )
    assert isinstance(found[0].data, Book)
    assert isinstance(found[1], InvalidOutput)


@pytest.mark.parametrize(
    ("task", "arguments"),
    [("structured_output", ("p", Book)), ("extract_parameters", ("m", book_room))],
)
def test_celerys_own_call_takes_json_alone(task: str, arguments: tuple[Any, ...]) -> None:
    """A message has no classes; the error says who takes them."""
    with pytest.raises(InvalidRequest, match="goes to Client only"):
        getattr(celery_tasks, task).delay(*arguments)


def test_the_first_services_api_returns_the_bare_content(
    shared_ollama: FakeOllama, shared_redis: Any
) -> None:
    """Each method asks and waits; the counts are of all that was asked on this Redis."""
    shared_redis.delete(KEYS.stats)
    shared_ollama.respond = lambda body: Script(
        chunks=('{"city": "Bern"}' if body.get("format") else "Python is a language.",)
    )
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

    async def use() -> tuple[list[Any], dict[str, Any]]:
        service = LocalLLMService()
        first = [
            await service.generate_response(prompt="What is Python?", max_tokens=150)
            for _ in range(2)
        ]
        counts = service.get_cache_stats()
        async with service:
            rest = [
                await service.summarize_rag_context(
                    context="Python ... " * 200, max_summary_tokens=100
                ),
                await service.compress_conversation(
                    messages=[{"role": "user", "content": "What is it? " * 200}], target_tokens=200
                ),
                await service.extract_function_parameters(
                    user_message="The weather in Bern?", function_schema={"parameters": schema}
                ),
                await service.generate_structured_output(prompt="A city.", schema=schema),
            ]
        return [*first, *rest], counts

    answers, counts = asyncio.run(use())
    assert answers[:3] == ["Python is a language."] * 3
    assert answers[3] == "In short: Python is a language."
    assert answers[4:] == [{"city": "Bern"}] * 2
    assert counts == {"hits": 1, "misses": 1, "hit_rate": 0.5}


def test_who_stops_waiting_in_the_first_api_cancels_the_job(shared_ollama: FakeOllama) -> None:
    """Nobody else knows of the job, and its model would write for nobody."""
    shared_ollama.respond = lambda _: Script(end="hang")
    shared_ollama.seen.clear()

    async def stop() -> None:
        async with LocalLLMService() as service:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await service.generate_response(prompt="endless", cache=False)

    asyncio.run(stop())
    wait_until(
        lambda: shared_ollama.seen and shared_ollama.seen[0].closed_at, "the stream is closed"
    )
