"""A routing decision by itself: policy, fit and complexity, as a routed run makes it.

Prompts of 10 to 400,000 characters, of several sorts, among them those that make a careless
expression slow, and conversations; by the default router and by a fitted one. The bound is on the
worst p95 of any length and sort: by the clock, and of CPU, which other processes disturb less.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from time import perf_counter, thread_time
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.numbers import percentile
from local_llm_service import tasks
from local_llm_service.tasks.request import JobRequest, Limits, parse
from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.tasks.routing.choice import Known, choose
from local_llm_service.tasks.routing.complexity import Verdict, classify
from local_llm_service.tasks.routing.hashed_words import BUCKETS
from local_llm_service.tasks.routing.policy import why_local
from local_llm_service.tasks.routing.router_file import Estimate, Judged, RouterFile
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetModel, FleetRoute
from local_llm_service.worker.tokens.fixed_rates import FixedRates
from local_llm_service.worker.tokens.rates import TokenRates

MOST_MS = 1.0
LENGTHS = (10, 100, 1_000, 4_000, 10_000, 100_000, 400_000)
ROUNDS = 300
LIMITS = Limits(
    max_prompt_chars=400_000, max_messages=1000, max_schema_depth=32, max_output_tokens=2048
)
LOCAL, REMOTE = "small", "large"
Router = Callable[[str], Verdict]


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Choose again and again; return the bounds, and percentiles in milliseconds by case."""
    requests, fleet = list(_requests()), _fleet()
    rng, rounds, measures = random.Random(1), 30 if short else ROUNDS, []
    raw: dict[str, Any] = {"rounds": rounds}
    for name, router in (("default", classify), ("fitted", _fitted())):
        known = Known(
            {LOCAL: 8192, REMOTE: 128_000}.__getitem__,
            lambda _: Capabilities(),
            lambda _: True,
            lambda router=router: router,  # type: ignore[misc]
        )
        took: dict[str, list[tuple[float, float]]] = {case: [] for case, _, _ in requests}
        for _ in range(rounds):
            rng.shuffle(requests)
            gc.collect()
            for case, kind, request in requests:
                took[case].append(_once(kind, request, fleet, known))
        raw[name] = {case: _numbers(some) for case, some in took.items()}
        for what, key in (("", "p95"), (" of CPU", "cpu_p95")):
            worst = max(raw[name], key=lambda case: raw[name][case][key])
            title = f"a decision, {name} router, worst p95{what}"
            measures.append(Measure(title, raw[name][worst][key], MOST_MS, "ms", worst))
        typical = raw[name]["prose of 1,000"]["p50"]
        measures.append(
            Measure(f"a decision, {name} router, 1,000 characters", typical, None, "ms")
        )
    return measures, raw


def _once(kind: str, request: JobRequest, fleet: Fleet, known: Known) -> tuple[float, float]:
    """Seconds by the clock, and of CPU."""
    rates = FixedRates.of(TokenRates())
    began, cpu = perf_counter(), thread_time()
    if not why_local(kind, request, fleet):
        choose(fleet.routes[0], Asked.of(request), known, rates.likely_tokens)
    return perf_counter() - began, thread_time() - cpu


def _numbers(took: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = zip(*took, strict=True)
    return {
        "p50": percentile(wall, 50) * 1000,
        "p95": percentile(wall, 95) * 1000,
        "p99": percentile(wall, 99) * 1000,
        "cpu_p95": percentile(cpu, 95) * 1000,
    }


def _requests() -> Iterator[tuple[str, str, JobRequest]]:
    """Case, kind and request."""
    rng = random.Random(2)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(5000)]
    sorts = {
        "prose": " ".join(rng.choices(words, k=80_000)) + "? ",
        "Chinese": "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(400_000)),
        "code": "    if value[index] != 0 {\n        total += value;\n    }\n" * 8_000,
        "steps": "1. ? - \n" * 50_000,
        "one word": "a" * 400_000,
    }
    for length in LENGTHS:
        for sort, text in sorts.items():
            prompt = text[:length]
            yield f"{sort} of {length:,}", "generate", _parsed("generate", prompt=prompt)
    for number, length in ((10, 400), (1000, 20), (1000, 390)):
        messages = [
            {"role": ("user", "assistant")[at % 2], "content": sorts["prose"][at : at + length]}
            for at in range(number - 1)
        ]
        messages.append({"role": "user", "content": "Why?"})
        yield f"chat of {number} times {length}", "chat", _parsed("chat", messages=messages)


def _parsed(kind: str, **call: Any) -> JobRequest:
    request: JobRequest = parse(getattr(tasks, kind).kind.request, [], call, LIMITS)
    return request


def _fleet() -> Fleet:
    far = FleetEngine(
        "far", "openai_compatible", "u", leaves_the_house=True, models=(FleetModel(REMOTE),)
    )
    here = FleetEngine("here", "ollama", "u", models=(FleetModel(LOCAL),))
    return Fleet((here, far), (FleetRoute("auto", LOCAL, REMOTE),))


def _fitted() -> Router:
    """A router with a weight for each bucket, so that none is spared."""
    rng, better = random.Random(3), Estimate(value=0.2, low=0.1, high=0.3)
    file = RouterFile(
        made="2026-11-29",
        judged=Judged(
            labels=1000, complex=400, folds=5, seed=0,
            auc=better, length_auc=better, difference=better,
        ),
        complex_from=0.5,
        intercept=-0.5,
        means=(5.0, 0.5, 0.5, 0.5),
        scales=(1.0, 1.0, 1.0, 1.0),
        seen_weights=(0.5, 0.1, 0.2, 0.3),
        bucket_weights=tuple(rng.uniform(-1, 1) for _ in range(BUCKETS)),
    )  # fmt: skip

    def router(prompt: str) -> Verdict:
        score = file.score(prompt)
        return Verdict(score >= file.complex_from, score)

    return router
