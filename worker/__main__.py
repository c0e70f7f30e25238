"""`python -m worker`: check the settings and what is around, then run the Celery worker.

`celery -A worker.app worker` starts the same worker without the checks. Options of Celery's worker
(`--hostname`, `-Q`, ...) are passed on.
"""

from __future__ import annotations

import logging
import os
import sys

from pydantic import ValidationError

from local_llm_service.worker import metrics
from local_llm_service.worker.celery_ext.agreement import disagreement
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.presence import read_all

logger = logging.getLogger("local_llm_service.worker")

#: `/api/chat` knows `truncate` and `shift` since this version; an older one ignores them and cuts
#: long prompts silently (api/types.go of v0.12.5 and v0.12.6).
MINIMUM_OLLAMA = (0, 12, 6)
MINIMUM_REDIS = (6, 2)

EXIT_SETTINGS = 2
EXIT_REDIS = 3


def main(arguments: list[str]) -> int:
    """Start the worker; returns its exit code. 2: settings are wrong, 3: Redis is not usable."""
    try:
        settings = get_settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in problem["loc"]).upper()
            print(f"setting {name}: {problem['msg']}", file=sys.stderr)
        return EXIT_SETTINGS
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # httpx logs one line per request; ours say more and no address.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logger.info("settings: %s", " ".join(f"{k}={v}" for k, v in settings.masked().items()))
    logger.info("slots: %d", settings.concurrency)
    try:
        _check_redis(settings)
    except ServiceError as error:
        print(f"{error.message}. {error.hint}", file=sys.stderr)
        return EXIT_REDIS
    with reachable(settings.redis_url) as client:
        conflict = disagreement(settings, read_all(client))
    if conflict is not None:
        print(f"{conflict}. Give all workers the same, or stop the others first.", file=sys.stderr)
        return EXIT_SETTINGS
    _check_ollama(settings)
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)

    from celery.bin.celery import celery

    from local_llm_service.worker.app import app

    if not any(word.startswith(("-n", "--hostname")) for word in arguments):
        # Two workers on one host must not share a name: they would hide each other.
        arguments = ["--hostname", f"llm-{os.getpid()}@%h", *arguments]
    # As `app.worker_main`, which would lose the exit code of a worker that could not run.
    celery.params[0].default = app
    words = ["worker", "--loglevel", settings.log_level, "--without-mingle", *arguments]
    return int(celery.main(args=words, standalone_mode=False) or 0)


def _check_redis(settings: Settings) -> None:
    """Raise BrokerUnreachable; warn of a server that is too old or may drop jobs."""
    with reachable(settings.redis_url) as client:
        server = client.info("server")
        policy = client.info("memory").get("maxmemory_policy")
    version = str(server["redis_version"])
    if _numbers(version) < MINIMUM_REDIS:
        logger.warning("Redis %s is older than 6.2, which Celery 5.7 needs", version)
    if policy not in (None, "noeviction"):
        logger.warning(
            "Redis drops keys when memory runs out (maxmemory-policy %s): jobs can be lost. "
            "Set maxmemory-policy noeviction.",
            policy,
        )


def _check_ollama(settings: Settings) -> None:
    """Log what stands in the way; the worker starts all the same, Ollama may come later."""
    from local_llm_service.worker.engine import get_engine

    try:
        version = get_engine().version()
        served = {full_name(model.name) for model in get_engine().models()}
    except ServiceError as error:
        logger.warning("%s. %s", error.message, error.hint)
        return
    if _numbers(version) < MINIMUM_OLLAMA:
        logger.warning(
            "Ollama %s cuts long prompts silently; update it to %s or newer",
            version,
            ".".join(map(str, MINIMUM_OLLAMA)),
        )
    name = settings.model_name
    if full_name(name) not in served:
        logger.warning("%s is not on this Ollama. Run `ollama pull %s`.", name, name)


def _numbers(version: str) -> tuple[int, ...]:
    """`0.33.0-rc2` as (0, 33, 0)."""
    parts = version.split("-")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
