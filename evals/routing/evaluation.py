"""Puts the evaluation of routing together: the paid model, the site, the tables."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import httpx

from evals.evaluate import INTERRUPTED, one_set, say
from evals.frame.eval_set import EvalSet
from evals.frame.plain_ollama import NoSuchModel, facts
from evals.frame.records import RecordsUnusable, Subject
from evals.frame.run import SiteFailed, chosen
from evals.frame.site import Site, context_of, settings_of, site
from evals.frame.tables import Results, set_tables
from evals.routing.claims import claims_table
from evals.routing.command import FITTED, Asked, parse
from evals.routing.label_tables import policy_tables, sent_table
from evals.routing.log import Query
from evals.routing.paid_model import paid_model
from evals.routing.route_set import ALL_LOCAL, RIGHT, Order, route_set
from local_llm_service.tasks.routing.complexity import Classify, Verdict, classify
from local_llm_service.tasks.routing.router_file import RouterFile, read_router
from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.errors import InvalidSetting, ServiceError

DEFAULT = "local_llm_service.tasks.routing.complexity:classify"
#: Labels that are fewer say nothing.
LEAST_LABELS = 20


def main(words: Sequence[str]) -> NoReturn:
    """Exit codes as those of `python -m evals`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = parse(words)
    try:
        without_models = offline_tables(asked)  # first: it refuses what would fail after hours
        parts = [] if asked.offline else [_measured(asked)]
    except ServiceError as error:
        say(f"{error} {error.hint}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("Stopped; start it again to go on.")
        sys.exit(INTERRUPTED)
    except (EmbeddedUnavailable, SiteFailed, RecordsUnusable, NoSuchModel) as error:
        say(str(error))
        sys.exit(1)
    except httpx.HTTPError as error:
        say(f"Ollama does not answer at --ollama: {type(error).__name__}")
        sys.exit(1)
    text = "\n".join([*parts, without_models])
    print(text)
    if asked.given.out is not None:
        asked.given.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(0)


def _measured(asked: Asked) -> str:
    given, order = asked.given, asked.order
    with (
        tempfile.TemporaryDirectory(prefix="local-llm-routing-") as folder,
        paid_model(order.answer_tokens) as paid,
        site(given.ollama, given.model) as here,
    ):
        digest, engine = asyncio.run(facts(here.ollama_host, here.model))
        fleet_file = Path(folder) / "engines.json"
        fleet_file.write_text(order.fleet_file(here.model, here.ollama_host, paid.url))
        worker = order.worker(fleet_file)
        one = route_set(asked.log, order, paid, worker)
        results = _asked(asked, here, one, (digest, engine))
    if asked.labels_out is not None:
        write_labels(asked.labels_out, results)
    head = (
        f"Model {here.model} ({digest[:12]}), Ollama {engine}; made by `python -m evals routing`."
    )
    return "\n".join(["# Routing", "", head, "", claims_table(results, order), set_tables(results)])


def _asked(asked: Asked, here: Site, one: EvalSet, model: tuple[str, str]) -> Results:
    from evals.frame.data import Data

    settings = settings_of(one.worker, asked.given.num_ctx)
    items = chosen(list(one.items(Data())), asked.given.limit)
    subject = Subject(here.model, *model, context_of(settings))
    return one_set(asked.given, here, one, items, subject, settings)


def offline_tables(asked: Asked) -> str:
    """What needs no model: what thresholds would send, and who chooses best on labels."""
    router = router_of(asked.order)
    parts = [sent_table([router(one.prompt).score for one in asked.log])]
    if len(asked.labels) < LEAST_LABELS:
        parts.append(f"Who should answer: {LEAST_LABELS} queries with labels are the least.\n")
    else:
        parts.append(policy_tables(asked.labels, _scores(asked, router), asked.order))
    return "\n".join(parts)


def router_of(order: Order) -> Classify:
    """The function that the worker will ask. Raises InvalidSetting."""
    if order.router == FITTED:
        if order.router_file is None:
            raise InvalidSetting("--router-file: is missing", "Name what `route fit` wrote.")
        file = read_router(order.router_file)
        return lambda prompt: _verdict(file, prompt)
    module, _, name = (order.router or DEFAULT).partition(":")
    try:
        found: Classify = getattr(import_module(module), name)
        float(found("").score)
    except Exception as error:  # noqa: BLE001  # anybody's module
        kind = type(error).__name__
    else:
        return found
    raise InvalidSetting(
        f"--router: {order.router} cannot be used ({kind})", "Name it as module:function."
    )


def _verdict(file: RouterFile, prompt: str) -> Verdict:
    score = file.score(prompt)
    return Verdict(score >= file.complex_from, score)


def _scores(asked: Asked, router: Classify) -> Mapping[str, Sequence[float]]:
    """Of the labelled queries, by each way to choose."""
    prompts = [one.prompt for one in asked.labels]
    found = {"length and structure": [classify(one).score for one in prompts]}
    if router is not classify:
        found["the router that was given"] = [router(one).score for one in prompts]
    fitted = _fitted_on_other_folds(asked.labels)
    return found if fitted is None else found | {"fitted on other labels": fitted}


def _fitted_on_other_folds(queries: Sequence[Query]) -> list[float] | None:
    """Scores of what `local-llm route fit` would make of these labels, of prompts unseen.

    None where there are too few labels, or no scikit-learn.
    """
    from local_llm_service.producers.route_fit.labels import Label, check_enough
    from local_llm_service.worker.errors import InvalidRequest

    labels = [
        Label(one.prompt, (one.remote_right or 0) > (one.local_right or 0)) for one in queries
    ]
    try:
        check_enough(labels, "the labels")
        from local_llm_service.producers.route_fit.fitting import Table, unseen_logits
    except (InvalidRequest, ModuleNotFoundError) as error:
        say(f"No router is fitted on these labels: {error}")
        return None
    return [float(one) for one in unseen_logits(Table.of(labels), folds=5, seed=0)]


def write_labels(path: Path, results: Results) -> None:
    """What `local-llm route fit` reads: complex is what the local model got wrong."""
    lines = []
    for item in results.items:
        record = results.by_place.get((item.key, item.group, ALL_LOCAL))
        if record is None or record.outcome.failure is not None:
            continue
        right = record.outcome.scores[RIGHT.name]
        if right.of:
            line = {"prompt": item.data.prompt, "complex": not right.points}
            lines.append(json.dumps(line, ensure_ascii=False))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    say(f"{path}: {len(lines)} labels")
