"""The state of the service: health, models, queues, statistics."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from local_llm_service import producers
from local_llm_service.producers import service
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.prometheus_text import CONTENT_TYPE, prometheus_text
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.producers.http.state_models import (
    HealthAnswer,
    LiveAnswer,
    ModelsAnswer,
    QueuesAnswer,
    StatsAnswer,
)
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store import keys


async def health(call: Call) -> Response:
    """What `producers.health()` says; 503 while nothing can be answered."""
    found = await _health(call)
    return json_reply(found, 503 if found["status"] == "down" else 200)


async def live(call: Call) -> Response:
    """This process answers."""
    return json_reply({"status": "live"})


async def ready(call: Call) -> Response:
    """Jobs can be taken: Redis answers, and a worker is there."""
    found = await _health(call)
    is_ready = found["status"] != "down" and not call.service.stopping.is_set()
    return json_reply({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)


async def models(call: Call) -> Response:
    """The models that workers can run now."""
    return json_reply({"models": await call.service.models()})


async def queues(call: Call) -> Response:
    """What is in each queue, most urgent first."""
    return json_reply({"queues": await asyncio.to_thread(producers.queues)})


async def metrics(call: Call) -> Response:
    """The statistics as JSON, or as Prometheus's text for a client that asks for it."""
    accept = (call.header("accept") or "").lower()
    if "text/plain" in accept or "openmetrics" in accept:
        return await prometheus(call)
    return json_reply(await asyncio.to_thread(producers.stats))


async def prometheus(call: Call) -> Response:
    """The same numbers for Prometheus, from any replica, as all of them are in Redis."""
    stats, counts, queue_facts = await asyncio.gather(
        asyncio.to_thread(producers.stats),
        asyncio.to_thread(service.counts),
        asyncio.to_thread(producers.queues),
    )
    text = prometheus_text(stats, counts, queue_facts, await call.service.health())
    return Response(text, media_type=CONTENT_TYPE)


async def _health(call: Call) -> dict[str, Any]:
    try:
        return await call.service.health()
    except BrokerUnreachable as error:
        settings = call.service.settings
        return {
            "service": keys.SERVICE,
            "status": "down",
            "reasons": [error.message],
            "model": settings.model_name,
            "ollama_host": settings.masked_ollama_host,
            "cache_enabled": settings.enable_cache,
            "workers": [],
        }


_HEALTH = {200: HealthAnswer, 503: HealthAnswer}
_LIVE = {200: LiveAnswer}
_READY = {200: LiveAnswer, 503: LiveAnswer}
_MODELS = {200: ModelsAnswer}
_QUEUES = {200: QueuesAnswer}
_METRICS = {200: (StatsAnswer, "text/plain")}

OPERATIONS = (
    Operation(
        "GET", "/health", health, "Whether jobs can be answered now", "service", answers=_HEALTH
    ),
    Operation(
        "GET", "/health/live", live, "This process answers", "service", answers=_LIVE, public=True
    ),
    Operation(
        "GET",
        "/health/ready",
        ready,
        "Jobs can be taken now",
        "service",
        answers=_READY,
        public=True,
    ),
    Operation(
        "GET", "/models", models, "The models that workers can run now", "service", answers=_MODELS
    ),
    Operation("GET", "/v1/queues", queues, "What is in each queue", "service", answers=_QUEUES),
    Operation(
        "GET",
        "/metrics",
        metrics,
        "Statistics, as JSON or for Prometheus",
        "service",
        answers=_METRICS,
    ),
    Operation(
        "GET",
        "/metrics/prometheus",
        prometheus,
        "Statistics for Prometheus",
        "service",
        answers={200: "text/plain"},
    ),
)
