"""`python -m worker`: check the settings, Redis and the engines, then run the Celery worker.

`celery -A worker.app worker` starts the same worker without the checks. The options of Celery's
worker (`--hostname`, `-Q`, ...) are passed on.
"""

from __future__ import annotations

import logging
import os
import sys

from local_llm_service.worker.errors import InvalidSetting, ServiceError
from local_llm_service.worker.fleet.fleet import Fleet, concurrency_of
from local_llm_service.worker.log_lines import quote_log_lines
from local_llm_service.worker.log_output import unblock_output
from local_llm_service.worker.router import router_of
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.startup_checks import check_engines, redis_conflict
from local_llm_service.worker.store import keys

try:
    from local_llm_service.worker import metrics
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: pip install 'local-llm-service[worker]'")

logger = logging.getLogger("local_llm_service.worker")

EXIT_SETTINGS = 2
EXIT_REDIS = 3


def main(arguments: list[str]) -> int:
    """Start the worker and return its exit code.

    2: settings are wrong, or Redis holds what version 0.1 left. 3: Redis is not usable.
    """
    try:
        settings = get_settings()
        router_of(settings)
        fleet, slots = Fleet.of(settings), concurrency_of(settings)
    except InvalidSetting as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return EXIT_SETTINGS
    _begin_log(settings, fleet, slots)
    try:
        conflict = redis_conflict(settings)
    except ServiceError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return EXIT_REDIS
    if conflict is not None:
        print(f"{conflict}.", file=sys.stderr)
        return EXIT_SETTINGS
    check_engines(settings)
    if settings.metrics_port and (problem := _serve_metrics(settings.metrics_port)):
        print(problem, file=sys.stderr)
        return EXIT_SETTINGS

    return _run_celery(settings, arguments)


def _serve_metrics(port: int) -> str | None:
    """Serve metrics; why that cannot be, and what to do, or None."""
    try:
        metrics.serve(port)
    except OSError as error:
        return (
            f"METRICS_PORT {port}: {error.strerror or error}. Give each worker of a host a port "
            "of its own, or 0 for none."
        )
    return None


def _begin_log(settings: Settings, fleet: Fleet, slots: int) -> None:
    quote_log_lines()
    unblock_output()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # httpx logs one line per request; our own lines say more and show no address.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logger.info("settings: %s", " ".join(f"{k}={v}" for k, v in settings.masked().items()))
    logger.info("slots: %d", slots)
    for engine in fleet.engines if settings.engines_file is not None else ():
        logger.info("engine: %s", " ".join(f"{k}={v}" for k, v in engine.masked().items()))


def _run_celery(settings: Settings, arguments: list[str]) -> int:
    import click
    from celery.bin.celery import celery
    from celery.exceptions import ImproperlyConfigured

    from local_llm_service.worker.app import app

    if not any(word.startswith(("-n", "--hostname")) for word in arguments):
        # Two workers on one host must not share a name: they would hide each other.
        arguments = ["--hostname", f"llm-{os.getpid()}@%h", *arguments]
    # Not `app.worker_main`, which would lose the exit code of a worker that could not run.
    celery.params[0].default = app
    words = ["worker", "--loglevel", settings.log_level, "--without-mingle", *arguments]
    try:
        return int(celery.main(args=words, standalone_mode=False) or 0)
    except click.ClickException as error:
        print(f"{error.format_message()} See --help.", file=sys.stderr)
    except ImproperlyConfigured as error:  # -Q with a queue that is not ours
        reason = " ".join(str(error).partition("\n\n")[0].split())
        print(f"{reason} Queues here: {','.join(keys.QUEUES)}.", file=sys.stderr)
    return EXIT_SETTINGS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
