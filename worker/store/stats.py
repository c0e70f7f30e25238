"""Counts of the whole service, kept in Redis by the scripts that end jobs.

Each job counts once, at its end. A hit was answered from the cache, at its call or by a worker, a
joined one by the generation of another; all others are misses, also those that failed or were
cancelled. Latency is from submit to stored, of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from local_llm_service.worker.fleet.price import Price
    from local_llm_service.worker.store.store import Store


def read_counts(store: Store) -> dict[str, int]:
    """All counters; one that never counted is missing. Raises redis-py's errors."""
    kept = cast(dict[str, str], store.client.hgetall(store.keys.stats))
    return {field: int(value) for field, value in kept.items()}


def stats_of(counts: dict[str, int], *, cache_enabled: bool, price: Price) -> dict[str, Any]:
    """The counters in the form of the contract.

    `estimated_gpt4_cost_usd` is what a model of this `price` would have cost: for every answer that
    was delivered, and for what was generated for none. `cost_savings_usd` leaves the latter out,
    and what was paid.
    """

    def count(field: str) -> int:
        return counts.get(field, 0)

    def nano_usd(kind: str) -> int:
        return price.nano_usd(count(f"{kind}_prompt_tokens"), count(f"{kind}_completion_tokens"))

    at_call = count("hits_at_call")
    hits, misses, joined = at_call + count("hits"), count("misses"), count("joined")
    total = hits + misses + joined
    worth, paid = nano_usd("delivered"), count("paid_nano_usd") + count("wasted_nano_usd")
    return {
        "total_requests": total,
        "avg_latency_ms": round(count("latency_ms") / max(1, count("timed") + at_call), 1),
        "total_tokens_generated": count("generated_tokens"),
        "cache_enabled": cache_enabled,
        "hits": hits,
        "misses": misses,
        "joined": joined,
        "hit_rate": round(hits / max(1, total), 4),
        "estimated_gpt4_cost_usd": _usd(worth + nano_usd("undelivered")),
        "cost_savings_usd": _usd(worth - paid),
    }


def tokens_of(counts: dict[str, int]) -> dict[str, dict[str, int]]:
    """Tokens by outcome (computed, cached, joined, wasted, delivered), of prompts and of
    completions, and nanodollars that were paid and wasted."""
    found = {
        outcome: {kind: counts.get(f"{outcome}_{kind}", 0) for kind in ("prompt", "completion")}
        for outcome in ("computed", "cached", "joined", "wasted")
    }
    found["delivered"] = {
        kind: counts.get(f"delivered_{kind}_tokens", 0) for kind in ("prompt", "completion")
    }
    found["nano_usd"] = {kind: counts.get(f"{kind}_nano_usd", 0) for kind in ("paid", "wasted")}
    return found


def _usd(nano_usd: int) -> float:
    return round(nano_usd / 1_000_000_000, 6)
