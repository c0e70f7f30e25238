"""Counts of the whole service, kept in Redis by the scripts that end jobs.

Each job counts once, at its end. A hit was answered from the cache, at its call or by a worker, a
joined one by the generation of another; all others are misses, also those that failed or were
cancelled. Latency is from submit to stored, of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from local_llm_service.worker.store.store import Store

_MILLION = 1_000_000


def read_counts(store: Store) -> dict[str, int]:
    """All counters; one that never counted is missing. Raises redis-py's errors."""
    kept = cast(dict[str, str], store.client.hgetall(store.keys.stats))
    return {field: int(value) for field, value in kept.items()}


def stats_of(
    counts: dict[str, int], *, cache_enabled: bool, prompt_usd: float, completion_usd: float
) -> dict[str, Any]:
    """The counters in the form of the contract; prices are per million tokens.

    `estimated_gpt4_cost_usd` is what a paid model would have cost: every answer that was delivered,
    and what was generated for none. `cost_savings_usd` leaves the latter out.
    """

    def count(field: str) -> int:
        return counts.get(field, 0)

    def usd(kind: str) -> float:
        prompt, completion = count(f"{kind}_prompt_tokens"), count(f"{kind}_completion_tokens")
        return (prompt * prompt_usd + completion * completion_usd) / _MILLION

    at_call = count("hits_at_call")
    hits, misses, joined = at_call + count("hits"), count("misses"), count("joined")
    total = hits + misses + joined
    saved = usd("delivered")
    return {
        "total_requests": total,
        "avg_latency_ms": round(count("latency_ms") / max(1, count("timed") + at_call), 1),
        "total_tokens_generated": count("generated_tokens"),
        "cache_enabled": cache_enabled,
        "hits": hits,
        "misses": misses,
        "joined": joined,
        "hit_rate": round(hits / max(1, total), 4),
        "estimated_gpt4_cost_usd": round(saved + usd("undelivered"), 6),
        "cost_savings_usd": round(saved, 6),
    }
