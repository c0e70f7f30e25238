"""A caller's code, which the type checker reads and nobody runs (tests/unit/test_structure.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
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
    assert_type(client.extract_parameters("m", order), Job[ExtractAnswer])
    assert_type(client.extract_parameters("m", {}).result().arguments, dict[str, Any])
    assert_type(client.map("compress", []), Iterator[Answer | ServiceError])
    pairs = client.map("compress", [], ordered=False)
    assert_type(pairs, Iterator[tuple[int, Answer | ServiceError]])


async def in_a_loop(client: AsyncClient) -> None:
    """The same types."""
    assert_type(await client.summarize("c", priority="low"), AsyncJob[SummarizeAnswer])
    job = await client.structured_output("p", Book)
    assert_type(job, AsyncJob[StructuredAnswer[Book]])
    assert_type((await job.result(5)).data, Book)
    plain = await client.structured_output("p", {})
    assert_type((await plain.result()).data, Any)
    assert_type(client.map("compress", []), AsyncIterator[Answer | ServiceError])
