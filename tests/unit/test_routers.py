"""Simple or complex: what the default sees of any text, and what a fitted router needs."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm_service.tasks.routing import fitted
from local_llm_service.tasks.routing.complexity import classify
from local_llm_service.tasks.routing.hashed_words import BUCKETS, buckets
from local_llm_service.tasks.routing.router_file import RouterFile, read_router
from local_llm_service.tasks.routing.structure import LOOKED_AT, MOST, structure
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.settings import Settings

MOST_CHARACTERS = 400_000
#: What would make an expression that goes back take minutes: the limit is the test's own timeout.
TRAPS = ("1. ", "? ", "{ \n", "- \n", "\n", " ", "```\n", "(1", "\ud800", "漢", "İ", "a", "1")


def a_router(**more: Any) -> dict[str, Any]:
    """A router's file that knows one word: `theorem`."""
    weights = [0.0] * BUCKETS
    weights[zlib.crc32(b"theorem") % BUCKETS] = 8.0
    good = {"value": 0.1, "low": 0.05, "high": 0.15}
    judged = {"labels": 100, "complex": 40, "folds": 5, "seed": 0}
    judged |= {"auc": good, "length_auc": good, "difference": good}
    file = {"format": "local-llm-router/1", "made": "2026-11-29", "judged": judged}
    file |= {"complex_from": 0.5, "intercept": -1.0, "bucket_weights": weights}
    return file | {"means": [0.0] * 4, "scales": [1.0] * 4, "seen_weights": [0.0] * 4} | more


def written(folder: Path, file: object) -> str:
    """The path of a router's file of its own."""
    path = folder / "router.json"
    path.write_text(json.dumps(file))
    return str(path)


@pytest.mark.parametrize(
    ("simpler", "harder"),
    [
        ("Hello", "Hello " * 200),
        ("What is a bee?", "What is a bee? What is a wasp? Which one stings? What then?"),
        ("Plan a trip. Book. Pack.", "Plan a trip.\n1. Book.\n2. Pack.\n3. Say why."),
        ("What is wrong here", "What is wrong here\n```\nfor x in y\n  print x\n```"),
        ("Give me name and age", 'Give me\n{\n"name": "x",\n"age": 3\n}\n'),
        ("a" * 100, "漢" * 100),
        ("Τι είναι;", "Τι είναι; " + "Γιατί συμβαίνει αυτό; " * 30),
    ],
)
def test_length_questions_steps_and_code_make_a_prompt_complex(simpler: str, harder: str) -> None:
    """In any language: nothing goes by words."""
    assert classify(simpler).score < classify(harder).score


def test_no_word_makes_a_prompt_complex() -> None:
    """Rules of key words are at chance on public labels."""
    assert classify("Prove and compare it").score == classify("Bread and butter pls").score


def test_the_middle_is_where_the_default_changes_its_mind() -> None:
    """A route's `complex_from` moves it."""
    assert not classify("a" * 1999).is_complex
    assert classify("a" * 2000).is_complex
    assert classify("a" * 2000).score == 0.5


@given(st.text(st.characters(codec=None), max_size=300))  # any code point, surrogates too
def test_any_text_has_a_verdict(text: str) -> None:
    """Between 0 and 1, the same each time, and buckets in bounds."""
    verdict = classify(text)
    assert 0 <= verdict.score < 1
    assert verdict == classify(text)
    found = buckets(text)
    assert list(found) == sorted(set(found))
    assert all(0 <= one < BUCKETS for one in found)


@pytest.mark.parametrize("trap", TRAPS, ids=repr)
def test_no_text_takes_long(trap: str) -> None:
    """Of the longest prompt that a call may have only both ends are looked at."""
    prompt = (trap * MOST_CHARACTERS)[:MOST_CHARACTERS]
    middle = prompt[:LOOKED_AT] + "?" * 9000 + prompt[-LOOKED_AT:]
    seen = structure(middle + "x" * (MOST_CHARACTERS - len(middle)))
    assert max(seen.questions, seen.steps, seen.code_lines) <= MOST
    assert classify(prompt).is_complex
    assert len(buckets(prompt)) <= 4


def test_buckets_are_the_same_in_every_process() -> None:
    """Python's own hashes of text are not."""
    text = "Wie heißt die Hauptstadt? 首都は。"
    code = "from local_llm_service.tasks.routing.hashed_words import buckets;"
    code += f"print(list(buckets({text!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(buckets(text))


def test_a_fitted_router_answers_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads ROUTER_FILE once."""
    monkeypatch.setenv("ROUTER_FILE", written(tmp_path, a_router()))
    assert fitted.classify("State the theorem").is_complex
    assert not fitted.classify("State the weather").is_complex
    assert 0 < fitted.classify("").score < 0.5


def test_a_fitted_router_needs_no_heavy_package(tmp_path: Path) -> None:
    """Nor does it take part of the worker's start."""
    code = "import sys; from local_llm_service.tasks.routing import fitted;"
    code += f"fitted.read_router({written(tmp_path, a_router())!r}).score('a b');"
    code += "print(sorted({'sklearn', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def not_better() -> dict[str, Any]:
    """A file whose difference to length alone may be none."""
    file = a_router()
    file["judged"]["difference"] = {"value": 0.01, "low": 0.0, "high": 0.02}
    return file


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (not_better(), "not shown to be better than length"),
        (a_router(format="local-llm-router/2"), "not a router's file: format"),
        (a_router(bucket_weights=[0.0] * 7), "not a router's file: bucket_weights"),
        (a_router(intercept=float("nan")), "not a router's file"),
        (a_router(scales=[0.0] * 4), "not a router's file: scales"),
        ([], "not a router's file"),
    ],
    ids=["not better", "another format", "too few", "nan", "no scale", "a list"],
)
def test_a_file_that_will_not_do_is_refused(file: object, said: str, tmp_path: Path) -> None:
    """With a typed error that says what to do."""
    with pytest.raises(InvalidSetting, match=said) as caught:
        read_router(written(tmp_path, file))
    assert caught.value.hint


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a folder, a name that is none, and none at all."""
    for path in (tmp_path / "none.json", tmp_path, "a\0b"):
        with pytest.raises(InvalidSetting, match="ROUTER_FILE"):
            read_router(str(path))
    with pytest.raises(InvalidSetting, match="ROUTER_FILE: is not set"):
        fitted.classify("Hello")


@pytest.fixture(autouse=True)
def _fresh_settings() -> Any:
    lazy_settings.cache_clear()
    from local_llm_service.worker.settings import get_settings

    get_settings.cache_clear()
    yield
    lazy_settings.cache_clear()
    get_settings.cache_clear()


def test_a_score_is_one_for_extreme_weights() -> None:
    """No overflow: the exponential has bounds."""
    for intercept, expected in ((1e6, 1.0), (-1e6, 0.0)):
        router = RouterFile.model_validate(a_router(intercept=intercept))
        assert router.score("Hello") == pytest.approx(expected)


@pytest.mark.parametrize("path", ["own_router", "own_router:", "own/router.py:good", "a b:c"])
def test_a_router_is_named_by_module_and_function(path: str) -> None:
    """Not by a file; the error says the form, not an expression for it."""
    with pytest.raises(ValueError, match=r"must be package\.module:function"):
        Settings(router=path)
