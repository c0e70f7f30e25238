"""`GET /v1/usage`: a tenant's own part of the savings ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.http.api_keys import add_key
from tests.http.conftest import HttpSite


def usage(http: HttpSite, headers: dict[str, str] | None = None, **query: str) -> dict[str, Any]:
    """What a caller sees."""
    reply = http.get("/v1/usage", params=query, headers=headers)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_a_tenant_sees_its_own_and_nothing_of_others(http: HttpSite) -> None:
    """By whatever it is summed, and whatever scope of its own a call names."""
    ours, theirs = add_key("a", "--tenant", "ours"), add_key("b", "--tenant", "theirs")
    for number in range(3):
        scope = {"cache_scope": "own"} if number else {}
        http.post("/generate", json={"prompt": "a", **scope}, headers=ours)
    http.post("/generate", json={"prompt": "a"}, headers=theirs)
    seen = usage(http, ours, by="tenant")
    assert [row["tenant"] for row in seen["rows"]] == ["ours"]
    total = seen["total"]
    assert (total["computed"], total["cached"]) == (2, 1)
    assert total["delivered_prompt"] == total["computed_prompt"] + total["cached_prompt"] > 0
    assert Decimal(total["saved_usd"]) == Decimal(total["compared_usd"]) > 0
    for by in ("day", "model", "route"):
        assert usage(http, ours, by=by)["total"] == total
    assert usage(http, theirs, by="model")["total"]["computed"] == 1
    assert http.get("/v1/usage").status_code == 401


def test_without_keys_all_is_shown(http: HttpSite) -> None:
    """Prometheus gets the same sums, with no label that a caller can make up."""
    for scope in ("a", "b/c"):
        http.post("/generate", json={"prompt": "x", "cache_scope": scope})
    seen = usage(http, by="tenant")
    assert [row["tenant"] for row in seen["rows"]] == ["a", "b"]
    text = http.get("/metrics/prometheus").text
    computed = seen["total"]["computed_completion"]
    series = 'local_llm_service_tokens_total{kind="completion",outcome="computed"}'
    assert f"{series} {float(computed)}" in text
    assert 'local_llm_service_usd_total{kind="paid"} 0.0' in text
    assert "tenant" not in text


@pytest.mark.parametrize(
    "query",
    [
        {"by": "weather"},
        {"since": "yesterday"},
        {"until": "2026-02-30"},
        {"since": "2026-02-02", "until": "2026-02-01"},
        {"since": "2001-01-01", "until": "2026-01-01"},
        {"tenant": "another"},
    ],
)
def test_a_wrong_question_is_refused(http: HttpSite, query: dict[str, str]) -> None:
    """And nobody can ask for another tenant."""
    reply = http.get("/v1/usage", params=query)
    assert reply.status_code == 400
    assert reply.json()["code"] == "invalid_request"
