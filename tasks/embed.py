"""`embed`: texts as vectors, which lie close together where the texts mean something alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from local_llm_service.tasks.answer import Answer, is_answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, check_chars
from local_llm_service.tasks.steps.one_step import one_step
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.prompt import Completion, ToEmbed, Vector

#: Texts of one job. Its result holds all vectors as JSON: 256 of 1024 numbers are 3 MB, which
#: every one who waits for it gets. Whoever has more asks with several jobs.
MOST_TEXTS = 256
MOST_DIMENSIONS = 65_536


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) or is_answer(value) else value


def _check(texts: list[str], info: ValidationInfo) -> list[str]:
    if not 0 < len(texts) <= MOST_TEXTS:
        raise ValueError(f"must be a text or 1 to {MOST_TEXTS} texts, got {len(texts)}")
    check_chars(sum(map(len, texts)), info)
    return texts


class EmbedRequest(JobRequest):
    """`input` is one text or several. `dimensions` keeps the first numbers of each vector.

    Only a model that was trained for it (`text-embedding`'s, Matryoshka) stays good when vectors
    are shortened. They have length 1 afterwards, too.
    """

    POSITIONAL: ClassVar = ("input", "model")

    input: Annotated[list[Text], BeforeValidator(_as_list), AfterValidator(_check)]
    dimensions: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)] | None = None


class EmbedAnswer(Answer):
    """`embeddings` has one vector for each text, in their order.

    `usage` counts the tokens that were evaluated for this job: a text whose vector was known costs
    none.
    """

    CONTENT: ClassVar = "embeddings"
    CONTENT_IS_JSON: ClassVar = True

    embeddings: list[list[float]]

    @classmethod
    def text_in(cls, content: Any, *, indent: int | None = None) -> str:
        """JSON, for people with one vector in a line."""
        if indent is None:
            return super().text_in(content)
        lines = (f"{' ' * indent}{json.dumps(vector)}" for vector in content)
        return "[\n" + ",\n".join(lines) + "\n]"


def _prompt(request: EmbedRequest, _: int) -> ToEmbed:
    return ToEmbed(tuple(request.input))


def _read(request: EmbedRequest, completion: Completion) -> Mapping[str, object]:
    dimensions = request.dimensions
    vectors = completion.vectors
    if dimensions is not None:
        size = min(map(len, vectors))
        if dimensions > size:
            raise InvalidRequest(f"dimensions: the model's vectors have {size}")
        vectors = tuple(_shortened(vector, dimensions) for vector in vectors)
    return {"embeddings": [list(vector) for vector in vectors]}


def _shortened(vector: Vector, dimensions: int) -> Vector:
    """The first numbers of a vector, at length 1 again; rounded as Ollama writes them (32 bit)."""
    kept = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in kept))
    return [float(f"{number / length:.8g}") for number in kept] if length else kept


embed = register(
    Kind(
        name="embed",
        description="Texts as vectors that tell how alike they are.",
        request=EmbedRequest,
        answer=EmbedAnswer,
        default_priority="normal",
        work=one_step(_prompt, _read),
    )
)
