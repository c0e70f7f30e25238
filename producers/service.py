"""The state of the service, read from Redis alone: models, health, jobs, queues, statistics."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from local_llm_service.producers.client import SITE, job
from local_llm_service.producers.job_core import JobCore, facts_of
from local_llm_service.worker.app import app
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.presence import Presence, fails, read_all, serves
from local_llm_service.worker.store.progress import JobNow, Progress
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.stats import read_counts, stats_of
from local_llm_service.worker.store.store import process_store

if TYPE_CHECKING:
    from local_llm_service.producers.usage_report import UsageReport


def redis_url() -> str:
    """REDIS_URL of this process."""
    return str(app.conf.broker_url)


def workers() -> list[Presence]:
    """The workers that are running now. Raises BrokerUnreachable."""
    with reachable(redis_url()):
        return read_all(process_store())


def models() -> list[dict[str, Any]]:
    """The models that workers can run now, by name, with the workers that have each.

    `default` marks the MODEL_NAME of at least one of them. `aliases` are other names that calls may
    give; `leaves_the_house`: what is sent to it leaves one's own hardware, with at least one of
    them. `num_ctx` is the smallest context with
    which one of them runs it, tokens; None where only workers of an earlier version have it.
    `loaded` is None where none of them has it in memory. Raises BrokerUnreachable.
    """
    found: dict[str, dict[str, Any]] = {}
    for worker in workers():
        for model in worker.models:
            own: dict[str, Any] = {"num_ctx": None, "default": False, "workers": []}
            own |= {"aliases": [], "leaves_the_house": False}
            entry = found.setdefault(model.name, {**asdict(model), **own})
            entry["workers"].append(worker.name)
            entry["aliases"] = sorted({*entry["aliases"], *_aliases_of(worker, model.name)})
            entry["leaves_the_house"] |= _leaves(worker, model.name)
            sizes = (entry["num_ctx"], worker.num_ctx, worker.num_ctx and model.context_tokens)
            entry["loaded"] = entry["loaded"] or (model.loaded and asdict(model.loaded))
            entry["num_ctx"] = min((one for one in sizes if one is not None), default=None)
            entry["default"] |= full_name(model.name) == full_name(worker.model)
    return [found[name] for name in sorted(found)]


def routes() -> list[str]:
    """The names that calls may give as `model` to let a worker choose, as "auto".

    Raises BrokerUnreachable.
    """
    return sorted({name for worker in workers() for name in worker.routes})


def _aliases_of(worker: Presence, model: str) -> list[str]:
    full = full_name(model)
    return [alias for alias, name in worker.aliases.items() if full_name(name) == full]


def _leaves(worker: Presence, model: str) -> bool:
    full = full_name(model)
    return any(
        one.leaves_the_house and full in map(full_name, one.models) for one in worker.engines
    )


def health() -> dict[str, Any]:
    """Whether workers can answer jobs now.

    `status`: "healthy" if every worker takes jobs, reaches its Ollama and has its model,
    "degraded" if only some do, "down" if none does. `reasons` says why it is not healthy, for each
    worker that cannot answer. Raises BrokerUnreachable.
    """
    there = workers()
    able = [worker for worker in there if _can_answer(worker)]
    status = "down" if not able else "healthy" if len(able) == len(there) else "degraded"
    shown = next(iter(able or there), None)
    return {
        "service": keys.SERVICE,
        "status": status,
        "reasons": [f"{one.name}: {why}" for one in there for why in one.reasons]
        or (
            []
            if there
            else ["no worker is running: start one with `python -m local_llm_service.worker`"]
        ),
        "model": shown.model if shown else lazy_settings().model_name,
        "ollama_host": shown.ollama_host if shown else lazy_settings().masked_ollama_host,
        "cache_enabled": shown.cache_enabled if shown else lazy_settings().enable_cache,
        "workers": [
            worker.model_dump(
                include={
                    *("name", "slots", "running"),
                    *("ollama_version", "ollama_reachable", "closed_by", "failing", "reasons"),
                    *("notes", "engines", "routes", "aliases"),
                }
            )
            for worker in there
        ],
    }


def status(task_id: str) -> JobState:
    """The state of a job; see `Job.status`."""
    return job(task_id).status()


def progress(task_id: str) -> Progress:
    """How far a job is; see `Job.progress`."""
    return job(task_id).progress()


def now(task_id: str) -> JobNow:
    """Both in one look."""
    return SITE.drive(JobCore[Any](SITE, facts_of(task_id)).now())


def cancel(task_id: str) -> JobState:
    """Cancel a job; see `Job.cancel`."""
    return job(task_id).cancel()


def stats() -> dict[str, Any]:
    """Counts of the whole service since its Redis was new; a year without a job resets them.

    Costs are estimates: the tokens of the workers' model at the price of this process's
    COMPARE_MODEL. Raises BrokerUnreachable, and InvalidSetting where that has no price.
    """
    from local_llm_service.worker.fleet.prices import compared  # most producers need no prices

    settings = lazy_settings()
    price = compared(settings.compare_model, settings.prices_file).price
    with reachable(redis_url()):
        enabled = [worker.cache_enabled for worker in read_all(process_store())]
        return stats_of(
            read_counts(process_store()),
            cache_enabled=enabled[0] if enabled else settings.enable_cache,
            price=price,
        )


def usage(
    by: str = "day",
    *,
    since: date | None = None,
    until: date | None = None,
    tenant: str | None = None,
) -> UsageReport:
    """What was done, paid and saved, by day, model, tenant or route, out of the savings ledger.

    Days are UTC, both among them: the last 30 where nobody says. `tenant`: of one alone. Raises
    InvalidRequest, BrokerUnreachable, and InvalidSetting where COMPARE_MODEL has no price.
    """
    from local_llm_service.producers.usage_report import usage_calls

    with reachable(redis_url()):
        store = process_store()
        calls = usage_calls(store.keys, lazy_settings(), by, since, until, tenant=tenant)
        return store.drive(calls)


def counts() -> dict[str, int]:
    """All counters of the whole service. Raises BrokerUnreachable."""
    with reachable(redis_url()):
        return read_counts(process_store())


def spending() -> dict[str, dict[str, Any]]:
    """What paid models have cost, by "day" and "month" (UTC), in whole nanodollars.

    `paid` for completions, `wasted` on calls that brought none, `reserved` by those that run now;
    `budget` is REMOTE_BUDGET_USD of this process and `left` the rest of it, None without one.
    Raises BrokerUnreachable and InvalidSetting.
    """
    from local_llm_service.worker.fleet.remote_budget import RemoteBudget

    text = lazy_settings().remote_budget_usd
    budget = RemoteBudget() if text is None else RemoteBudget.read(text)
    with reachable(redis_url()):
        day, month = process_store().spending.spending()
    return {
        name: {
            "period": seen.period,
            "paid_nano_usd": seen.paid,
            "wasted_nano_usd": seen.wasted,
            "reserved_nano_usd": seen.reserved,
            "budget_nano_usd": most,
            "left_nano_usd": None if most is None else max(0, most - seen.committed),
        }
        for name, seen, most in (("day", day, budget.day), ("month", month, budget.month))
    }


def queues() -> list[dict[str, Any]]:
    """What is in each queue, most urgent first.

    `waiting`: messages in its list; `unfinished`: its backlog, that is, all jobs without a result,
    also those that run or wait elsewhere; `bytes`: what these take in Redis. Raises
    BrokerUnreachable.
    """
    with reachable(redis_url()):
        waiting = process_store().jobs.waiting(keys.QUEUES)
        backlogs = process_store().jobs.backlogs(keys.QUEUES)
    return [
        {
            "name": name,
            "waiting": count,
            "unfinished": backlogs[name].jobs,
            "bytes": backlogs[name].bytes,
        }
        for name, count in waiting.items()
    ]


def _can_answer(worker: Presence) -> bool:
    takes_jobs = worker.ollama_reachable and not worker.closed_by
    return takes_jobs and serves(worker, worker.model) and not fails(worker, worker.model)
