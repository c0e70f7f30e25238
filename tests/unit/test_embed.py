"""`embed`: its request, vectors that are shortened, and texts whose vectors are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.tasks.admission import text_name
from local_llm_service.tasks.answer import text_of
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.text_vectors import all_vectors
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.prompt import Completion, ToEmbed, Vector
from tests.doubles.said import first_prompt, read_by

WIRE = Path(__file__).parents[1] / "wire"
LIMITS = Limits(max_prompt_chars=300, max_messages=5, max_schema_depth=8, max_output_tokens=999)


def request(input: Any, **options: Any) -> Any:
    """A validated call."""
    return parse(tasks.embed.kind.request, [], {"input": input, **options}, LIMITS)


def read(vectors: list[Vector], **options: Any) -> list[list[float]]:
    """The embeddings of the answer."""
    completion = Completion("", "m", "stop", 3, 0, 0, 0, 0, vectors=tuple(vectors))
    answer: Any = read_by(tasks.embed.kind, request("x", **options), completion)
    vectors_read: list[list[float]] = answer["embeddings"]
    return vectors_read


def test_one_text_and_a_list_of_one_are_the_same_question() -> None:
    """The answer has a list of vectors either way."""
    assert request("a").content() == request(["a"]).content()
    assert first_prompt(tasks.embed.kind, request(["a", "b"]), 0) == ToEmbed(("a", "b"))


def test_an_answer_of_a_chain_is_embedded_as_its_text() -> None:
    """One answer, or a chord's list of them."""
    answer = {"task_id": "1", "kind": "generate", "origin": "computed", "text": "hello"}
    assert request(answer).input == ["hello"]
    assert request([answer, answer]).input == ["hello", "hello"]


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ([], "1 to 256 texts, got 0"),
        (["a"] * 257, "1 to 256 texts, got 257"),
        ("", "must not be empty"),
        (["a", " "], "input.1: must not be empty"),
        (["a", 7], "input.1"),
        ([[1, 2]], "input.0"),
        (["a" * 200, "b" * 200], "MAX_PROMPT_CHARS"),
        ("\ud83d", "lone surrogate"),
    ],
)
def test_what_has_no_vector_is_refused(input: Any, said: str) -> None:
    """Ollama refuses a whole batch for one empty text; tokens by number it does not know."""
    with pytest.raises(InvalidRequest) as failure:
        request(input)
    assert said in failure.value.message


def test_shortened_vectors_are_ollamas_own() -> None:
    """`dimensions` gives what Ollama gives for it (tests/wire/embed_model_dimensions.json)."""
    whole = recorded("embed_model_string")
    (expected,) = recorded("embed_model_dimensions")
    (given,) = read(whole, dimensions=8)
    assert given == pytest.approx(expected, abs=1e-6)
    assert math.hypot(*given) == pytest.approx(1)
    with pytest.raises(InvalidRequest, match="dimensions: the model's vectors have 576"):
        read(whole, dimensions=577)
    assert read([[0.0, 0.0, 1.0]], dimensions=2) == [[0.0, 0.0]]


def test_people_see_one_vector_in_a_line() -> None:
    """The command line prints it; it is JSON all the same."""
    answer = {
        "task_id": "1",
        "kind": "embed",
        "origin": "computed",
        "embeddings": [[1.0, 0.5], [2]],
    }
    assert text_of(answer, indent=2) == "[\n  [1.0, 0.5],\n  [2]\n]"
    assert json.loads(text_of(answer)) == answer["embeddings"]


def recorded(name: str) -> list[Vector]:
    """The vectors of a recording."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    vectors: list[Vector] = exchange["response"]["body"]["embeddings"]
    return vectors


class Known:
    """What Redis keeps; `fails` where it is away."""

    def __init__(self, fails: bool = False) -> None:
        self.kept: dict[str, Vector] = {}
        self.fails = fails

    def known(self, names: list[str]) -> dict[str, Vector]:
        """Those of the vectors that are there."""
        if self.fails:
            raise redis.ConnectionError
        return {name: self.kept[name] for name in names if name in self.kept}

    def keep_vectors(self, vectors: dict[str, Vector]) -> int:
        """Keep all of them."""
        if self.fails:
            raise redis.ConnectionError
        self.kept |= vectors
        return len(vectors)


class Model:
    """A model whose vector of a text is its length; `asked` is what it was given."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, texts: ToEmbed) -> Completion:
        self.asked.append(texts.texts)
        vectors = tuple([float(len(text))] for text in texts.texts)
        return Completion("", "m", "stop", len(vectors), 0, 0.5, 1, 0, vectors=vectors)


@pytest.mark.parametrize("fails", [False, True])
def test_only_texts_that_are_not_known_are_asked_for(fails: bool) -> None:
    """In their order, each once; with Redis away, all of them."""
    model, known = Model(), Known(fails)
    first = all_vectors(ToEmbed(("a", "bb", "a")), model, known, str.upper)  # type: ignore[arg-type]
    again = all_vectors(ToEmbed(("ccc", "bb")), model, known, str.upper)  # type: ignore[arg-type]
    assert first.vectors == ([1.0], [2.0], [1.0])
    assert again.vectors == ([3.0], [2.0])
    assert model.asked == [("a", "bb"), ("ccc", "bb") if fails else ("ccc",)]
    assert again.prompt_tokens == (2 if fails else 1)


def test_a_job_that_shares_nothing_looks_up_nothing() -> None:
    """`cache=False`, or a model whose revision is not known."""
    model, known = Model(), Known(fails=True)
    found = all_vectors(ToEmbed(("a", "a")), model, known, None)  # type: ignore[arg-type]
    assert found.vectors == ([1.0], [1.0])
    assert model.asked == [("a",)]


def test_all_texts_known_asks_nobody() -> None:
    """The usage of such a job is 0."""
    model, known = Model(), Known()
    all_vectors(ToEmbed(("a",)), model, known, str)  # type: ignore[arg-type]
    found = all_vectors(ToEmbed(("a", "a")), model, known, str)  # type: ignore[arg-type]
    assert (found.vectors, found.prompt_tokens) == (([1.0], [1.0]), 0)
    assert len(model.asked) == 1


def test_a_texts_name_changes_with_all_that_changes_its_vector() -> None:
    """And with the tenant; not with the other texts or with `dimensions`, which cuts it later."""

    def name(text: str = "a", model: str = "m", revision: str = "r", **options: Any) -> str:
        return text_name(tasks.embed.kind, request(["a", "b"], **options), model, revision, text)

    names = [name(), name("b"), name(model="n"), name(revision="s"), name(cache_scope="t")]
    assert len(set(names)) == len(names)
    assert name(dimensions=3) == name()
