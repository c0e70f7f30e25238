"""Commands that look: a job's result and status, models, health, queues, statistics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from local_llm_service.producers import service
from local_llm_service.producers.cli.output import Exit, fail, say, show_answer, show_json
from local_llm_service.producers.cli.usage import show_usage
from local_llm_service.producers.client import SITE
from local_llm_service.producers.explain import explain
from local_llm_service.producers.job_core import JobCore, facts_of
from local_llm_service.producers.result_wait import not_found
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    InvalidRequest,
    NotFound,
    NotReady,
    ServiceError,
)
from local_llm_service.worker.fleet.price import NANO_PER_USD
from local_llm_service.worker.fleet.prices import compared
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.presence import server_name
from local_llm_service.worker.store.states import JobState

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("task_id")
@_JSON
def result(task_id: str, as_json: bool) -> Exit:
    """Print the answer of job TASK_ID, if it is ready."""
    job = JobCore(SITE, facts_of(task_id))
    try:
        answer = SITE.drive(job.plain_result(0))
    except (BrokerUnreachable, NotFound, NotReady):
        raise
    except ServiceError as error:
        return fail(error, as_json, Exit.JOB_FAILED)
    show_answer(answer, as_json)
    return Exit.ANSWER


def _known(state: JobState) -> JobState:
    """The state of a job that exists. Raises NotFound."""
    if state is JobState.UNKNOWN:
        raise not_found()
    return state


@click.command()
@click.argument("task_id")
@_JSON
def status(task_id: str, as_json: bool) -> Exit:
    """Print the state of job TASK_ID: queued, running, succeeded, failed, ...

    Of a job that takes several steps also how many are done.
    """
    now = service.now(task_id)
    state = _known(now.state)
    reason = explain(task_id) if state is JobState.PARKED else None
    if as_json:
        told: dict[str, Any] = {"reason": reason} if reason else {}
        show_json({"task_id": task_id, "status": state, "progress": asdict(now.progress), **told})
    else:
        more = reason or (now.progress.phase != state and now.progress)
        say(f"{state}: {more}" if more else str(now.progress))
    return Exit.ANSWER


@click.command()
@click.argument("task_id")
@_JSON
def cancel(task_id: str, as_json: bool) -> Exit:
    """Cancel job TASK_ID, queued or running."""
    state = _known(service.cancel(task_id))
    word = "cancelling" if state is JobState.RUNNING else str(state)
    show_json({"task_id": task_id, "status": word}) if as_json else say(word)
    return Exit.ANSWER


@click.command()
@_JSON
def models(as_json: bool) -> Exit:
    """List the models that workers can run now."""
    found = service.models()
    if as_json:
        show_json(found)
    for model in () if as_json else found:
        say("  ".join([model["name"], *_words_of(model)]))
    for route in () if as_json else service.routes():
        say(f"{route}  (route)")
    return Exit.ANSWER if found else Exit.UNREACHABLE


def _words_of(model: dict[str, Any]) -> list[str]:
    """What there is to say of a model. Only what is here has a size."""
    found = [f"{model['size_bytes'] / 1e9:.1f} GB"] if model["size_bytes"] else []
    found += [f"also {', '.join(model['aliases'])}"] if model["aliases"] else []
    found += ["leaves the house"] if model["leaves_the_house"] else []
    return [*found, *(["(default)"] if model["default"] else [])]


@click.command()
@_JSON
def health(as_json: bool) -> Exit:
    """Say whether workers can answer jobs now; exit with 3 if not."""
    seen = service.health()
    if as_json:
        show_json(seen)
    else:
        say(f"{seen['status']}  model {seen['model']}  {len(seen['workers'])} worker(s)")
        for worker in seen["workers"]:
            engines = worker["engines"]
            told = _engine_of(worker) if len(engines) < 2 else f"{len(engines)} engines"
            told += "  draining" if "draining" in worker["closed_by"] else ""
            say(f"  {worker['name']}  {worker['running']}/{worker['slots']} slots  {told}")
            for engine in engines if len(engines) > 1 else ():
                say(f"    {_line_of(engine)}")
            for note in worker["notes"]:
                say(f"    {note}")
        for reason in seen["reasons"]:
            say(f"  {reason}")
    return Exit.UNREACHABLE if seen["status"] == "down" else Exit.ANSWER


def _engine_of(worker: dict[str, Any]) -> str:
    """A worker's one engine, in words."""
    version = worker["ollama_version"]
    kinds = [engine["kind"] for engine in worker["engines"]]
    if kinds and kinds[0] != "ollama":
        return f"{kinds[0]} {version or 'not reachable'}"
    return server_name(version) if version else "Ollama not reachable"


def _line_of(engine: dict[str, Any]) -> str:
    """One of several engines, in words."""
    version, kind = engine["version"] or "", engine["kind"]
    # Most servers of /v1 tell no version.
    other = kind if version == "unknown" else f"{kind} {version}"
    name = server_name(version) if version and kind == "ollama" else other
    away = "" if engine["reachable"] else "  not reachable"
    leaves = "  leaves the house" if engine["leaves_the_house"] else ""
    told = f"{engine['name']}  {engine['running']}/{engine['slots']} slots  {name.rstrip()}"
    return f"{told}{away}{leaves}"


@click.command()
@_JSON
def queues(as_json: bool) -> Exit:
    """Print how many jobs wait in each queue, how many have no result yet, and their size."""
    waiting = service.queues()
    if as_json:
        show_json(waiting)
    for queue in () if as_json else waiting:
        all_of_it = f", {queue['unfinished']} unfinished, {queue['bytes'] / 1e6:.1f} MB"
        say(f"{queue['name']:12} {queue['waiting']}{all_of_it if queue['unfinished'] else ''}")
    return Exit.ANSWER


@click.command()
@click.option(
    "--by",
    type=click.Choice(["day", "model", "tenant", "route"]),
    help="Print the savings ledger, summed so.",
)
@click.option("--since", metavar="DAY", help="With --by: first day, YYYY-MM-DD, UTC.")
@click.option("--until", metavar="DAY", help="With --by: last day; today if not given.")
@click.option("--csv", "as_csv", is_flag=True, help="With --by: print CSV.")
@_JSON
def stats(
    by: str | None, since: str | None, until: str | None, as_csv: bool, as_json: bool
) -> Exit:
    """Print how many requests came, how many ran, and the estimated cost elsewhere.

    With --by: what was done, paid and saved, of the last 30 days where nobody says.
    """
    if by is not None:
        return show_usage(by, since, until, as_csv=as_csv, as_json=as_json)
    if as_csv or since or until:
        raise InvalidRequest("--since, --until and --csv need --by")
    seen, counts, settings = service.stats(), service.counts(), get_settings()
    if as_json:
        show_json(seen)
        return Exit.ANSWER
    of = "answered from the cache" if seen["cache_enabled"] else "from the cache (now off)"
    say(
        f"{seen['total_requests']} requests: {seen['misses']} ran, {seen['hits']} {of}, "
        f"{seen['joined']} joined one that ran; hit rate {seen['hit_rate']:.1%}"
    )
    say(f"{seen['avg_latency_ms']:.0f} ms on average from submit to answer")
    say(
        f"{seen['total_tokens_generated']} tokens generated, "
        f"{counts.get('stored', 0)} answers put into the cache"
    )
    paid = (counts.get("paid_nano_usd", 0) + counts.get("wasted_nano_usd", 0)) / NANO_PER_USD
    price = compared(settings.compare_model, settings.prices_file)
    say(
        f"as many tokens as callers got would cost {_usd(seen['cost_savings_usd'] + paid)} USD at "
        f"the prices of {price.from_where}: prices are compared, not models"
    )
    if paid:
        say(f"{_usd(paid)} USD were paid; saved: {_usd(seen['cost_savings_usd'])} USD")
    return Exit.ANSWER


def _usd(amount: float) -> str:
    """Cents; hundredths of one where it is less than a dollar, as a loss is else shown as -0.00."""
    return f"{amount:.2f}" if abs(amount) >= 1 else f"{amount:.4f}"


COMMANDS = (result, status, cancel, models, health, queues, stats)
