"""Statistics, queues and workers as Prometheus reads them.

All numbers come from Redis, so that each replica says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from local_llm_service.worker.fleet.price import NANO_PER_USD
from local_llm_service.worker.store.stats import tokens_of

__all__ = ["CONTENT_TYPE", "prometheus_text"]


#: Not the names of a worker's own metrics, which count in one process.
PREFIX = "local_llm_service"


class _Collector:
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def prometheus_text(
    stats: Mapping[str, Any],
    counts: dict[str, int],
    queues: Sequence[Mapping[str, Any]],
    health: Mapping[str, Any],
) -> bytes:
    """The text of one scrape; `counts` as stats.read_counts reads them."""
    registry = CollectorRegistry(auto_describe=False)
    families = [*_of_stats(stats), *_of_savings(counts), *_of_queues(queues), *_of_workers(health)]
    registry.register(_Collector(families))
    return generate_latest(registry)


def _of_stats(stats: Mapping[str, Any]) -> Iterable[Metric]:
    answered = CounterMetricFamily(
        f"{PREFIX}_answers", "Jobs that ended, by the origin of their answer", labels=["origin"]
    )
    for origin, name in (("computed", "misses"), ("cached", "hits"), ("joined", "joined")):
        answered.add_metric([origin], stats[name])
    yield answered
    yield CounterMetricFamily(
        f"{PREFIX}_generated_tokens",
        "Tokens that models have generated",
        value=stats["total_tokens_generated"],
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_latency_seconds",
        "Mean time from submit to stored",
        value=stats["avg_latency_ms"] / 1000,
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_saved_usd",
        "What the same tokens would have cost elsewhere, less what was paid",
        value=stats["cost_savings_usd"],
    )


def _of_savings(counts: dict[str, int]) -> Iterable[Metric]:
    tokens = CounterMetricFamily(
        f"{PREFIX}_tokens", "Tokens, by what became of them", labels=["outcome", "kind"]
    )
    usd = CounterMetricFamily(
        f"{PREFIX}_usd", "US dollars for completions (paid), and for none (wasted)", labels=["kind"]
    )
    for outcome, numbers in tokens_of(counts).items():
        for kind, number in numbers.items():
            if outcome == "nano_usd":
                usd.add_metric([kind], number / NANO_PER_USD)
            else:
                tokens.add_metric([outcome, kind], number)
    yield tokens
    yield usd


def _of_queues(queues: Sequence[Mapping[str, Any]]) -> Iterable[Metric]:
    meanings = {
        "waiting": "Messages in a queue's list",
        "unfinished": "Jobs of a queue without a result",
        "bytes": "What the jobs of a queue take in Redis",
    }
    for name, meaning in meanings.items():
        family = GaugeMetricFamily(f"{PREFIX}_queue_{name}", meaning, labels=["queue"])
        for one in queues:
            family.add_metric([one["name"]], one[name])
        yield family


def _of_workers(health: Mapping[str, Any]) -> Iterable[Metric]:
    for name, meaning in (("slots", "Slots of a worker"), ("running", "Jobs that a worker runs")):
        family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=["worker"])
        for worker in health["workers"]:
            family.add_metric([worker["name"]], worker[name])
        yield family
    status = {"healthy": 1.0, "degraded": 0.5}.get(health["status"], 0.0)
    yield GaugeMetricFamily(f"{PREFIX}_healthy", "1 healthy, 0.5 degraded, 0 down", value=status)
