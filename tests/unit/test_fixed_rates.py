"""The rates by which a job sizes what it asks: the same in each of its runs."""

from __future__ import annotations

import pytest

from local_llm_service.worker.tokens.characters import CLASSES
from local_llm_service.worker.tokens.fixed_rates import FixedRates
from local_llm_service.worker.tokens.rates import TokenRates

TEXT = "The quick brown fox jumps over the lazy dog. " * 20


def taught(tokens: int, times: int = 20) -> TokenRates:
    """Rates after so many tokens were counted in TEXT, and again."""
    rates = TokenRates()
    for _ in range(times):
        rates.learn(TEXT, tokens)
    return rates


def test_they_stay_while_others_learn() -> None:
    """Written down and read, they say the same."""
    rates = taught(200)
    fixed = FixedRates.of(rates)
    before = fixed.likely_tokens(TEXT)
    rates.learn(TEXT, 900)
    assert fixed.likely_tokens(TEXT) == before
    again = FixedRates.read(fixed.as_text())
    assert again is not None
    assert again.likely_tokens(TEXT) == before


def test_an_estimate_is_rather_too_high_and_never_by_half() -> None:
    """Beside what was learned."""
    for tokens in range(150, 500, 10):
        expected = taught(tokens).expected_tokens([TEXT])
        assert 1.1 * expected < FixedRates.of(taught(tokens)).likely_tokens(TEXT) < 1.5 * expected


def test_what_is_learned_later_changes_little() -> None:
    """Jobs of one model find the pieces of earlier ones."""
    first = FixedRates.of(taught(200, times=40)).as_text()
    assert FixedRates.of(taught(200, times=400)).as_text() == first


def test_a_refusal_raises_them() -> None:
    """To what the server has counted, at least; and no byte has more than a token."""
    fixed = FixedRates.of(taught(200))
    raised = fixed.at_least(TEXT, 600)
    assert 600 <= raised.likely_tokens(TEXT) < 900
    assert raised.at_least(TEXT, 500) is raised
    assert fixed.at_least(TEXT, 10**9).likely_tokens(TEXT) == len(TEXT) + 1


@pytest.mark.parametrize("text", ["", "[]", "{}", "x", '{"latin": 0}', "[" * 5000, "null"])
def test_what_is_no_such_thing_is_none(text: str) -> None:
    """Another version may have other classes."""
    assert FixedRates.read(text) is None
    whole = "{" + ",".join(f'"{name}": -4.5' for name in CLASSES) + "}"
    assert FixedRates.read(whole) is None
