"""A caller's code, which the type checker reads and nobody runs (tests/unit/test_structure.py)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any, assert_type

from pydantic import BaseModel

from local_llm_service import AsyncClient, AsyncJob, Client, Job
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.extract_parameters import ExtractAnswer
from local_llm_service.tasks.structured_output import StructuredAnswer
from local_llm_service.tasks.summarize import SummarizeAnswer
from local_llm_service.worker.errors import ServiceError


class Book(BaseModel):
    """What a caller wants to have."""

    title: str


def order(title: str) -> None:
    """What a caller wants to call."""


def in_a_thread(client: Client) -> None:
    """Answers have the type of their kind, and of the class that was given."""
    assert_type(client.summarize("c", priority="low"), Job[SummarizeAnswer])
    assert_type(client.structured_output("p", Book), Job[StructuredAnswer[Book]])
    assert_type(client.structured_output("p", Book).result(5).data, Book)
    assert_type(client.structured_output("p", list[Book]).result().data, list[Book])
    assert_type(client.structured_output("p", {}).result().data, Any)
    assert_type(client.structured_output("p", True, stream=True).result().data, Any)
    assert_type(client.summarize("c", question="q").result().coverage, float)
    pinned = client.compress([], keep=["k"], keep_last=0, previous_summary="s").result()
    assert pinned.covered is not None  # as in the answers of workers that do not say it
    assert_type(pinned.covered.summarized, list[int])
    assert_type(client.extract_parameters("m", order), Job[ExtractAnswer])
    assert_type(client.extract_parameters("m", [order, {}], strict=True), Job[ExtractAnswer])
    assert_type(client.extract_parameters("m", {}).result().missing, list[str])
    assert_type(client.structured_output("p", Book, strict=True).result(5).data, Book)
    assert_type(client.extract_parameters("m", {}).result().arguments, dict[str, Any])
    assert_type(client.map("compress", []), Generator[Answer | ServiceError, None, None])
    pairs = client.map("compress", [], ordered=False)
    assert_type(pairs, Generator[tuple[int, Answer | ServiceError], None, None])
    with closing(client.structured_output("p", Book).stream()) as events:
        assert_type(next(events).answer, StructuredAnswer[Book] | None)


async def in_a_loop(client: AsyncClient) -> None:
    """The same types."""
    assert_type(await client.summarize("c", priority="low"), AsyncJob[SummarizeAnswer])
    job = await client.structured_output("p", Book)
    assert_type(job, AsyncJob[StructuredAnswer[Book]])
    assert_type((await job.result(5)).data, Book)
    plain = await client.structured_output("p", {})
    assert_type((await plain.result()).data, Any)
    assert_type(client.map("compress", []), AsyncGenerator[Answer | ServiceError, None])
    async with aclosing(job.stream()) as events:
        assert_type((await anext(events)).answer, StructuredAnswer[Book] | None)
