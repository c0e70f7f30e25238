"""Puts an evaluation together: the site, each set with its worker, the tables."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import httpx

from evals import sets
from evals.frame.command import Given, parse
from evals.frame.data import Data, DataMissing
from evals.frame.eval_set import EvalSet, Item
from evals.frame.here import Here
from evals.frame.overview import overview
from evals.frame.plain_ollama import NoSuchModel, PlainOllama, facts
from evals.frame.records import Records, RecordsUnusable, Subject
from evals.frame.run import Run, SiteFailed, chosen
from evals.frame.site import Site, context_of, settings_of, site, while_it_runs
from evals.frame.tables import Results, set_tables
from local_llm_service.worker.embedded.errors import EmbeddedUnavailable

INTERRUPTED = 130


def names() -> list[str]:
    """The names of all sets: the modules of `evals/sets/` that hold one."""
    files = sorted(Path(sets.__path__[0]).glob("*.py"))
    return [file.stem for file in files if "\nSET = EvalSet(" in file.read_text()]


def load(name: str) -> EvalSet:
    """A set by its name."""
    found: EvalSet = importlib.import_module(f"evals.sets.{name}").SET
    return found


def main() -> NoReturn:
    """Exit with 0 after tables, 1 if the site failed, 2 for bad input, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parse(names())
    try:
        with site(given.ollama, given.model) as here:
            text = _evaluate(given, here)
    except KeyboardInterrupt:
        say("Stopped; start it again to go on.")
        sys.exit(INTERRUPTED)
    except (EmbeddedUnavailable, SiteFailed, RecordsUnusable, NoSuchModel) as error:
        say(str(error))
        sys.exit(1)
    except httpx.HTTPError as error:
        say(f"Ollama does not answer at --ollama: {type(error).__name__}")
        sys.exit(1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    sys.exit(0)


def _evaluate(given: Given, here: Site) -> str:
    digest, engine = asyncio.run(facts(here.ollama_host, here.model))
    done, left_out = [], []
    for name in given.sets:
        one = load(name)
        try:
            items = list(one.items(Data(given.data)))
        except DataMissing as error:
            say(f"{name} is left out: {error}")
            left_out.append(f"- {name}: {error}")
            continue
        settings = settings_of(one.worker, given.num_ctx)
        subject = Subject(here.model, digest, engine, context_of(settings))
        limit = given.limit if given.limit is not None else one.limit
        done.append(one_set(given, here, one, chosen(items, limit), subject, settings))
    asked = [one for one in done if one.by_place]
    left_out += [f"- {one.one.name}: not asked yet" for one in done if not one.by_place]
    head = f"Model {here.model} ({digest[:12]}), Ollama {engine}; made by `python -m evals`."
    parts = [head, "", overview(asked, given.prices), *map(set_tables, asked)]
    return "\n".join([*parts, *(["## Left out", "", *left_out] if left_out else [])])


def one_set(
    given: Given,
    here: Site,
    one: EvalSet,
    items: list[Item],
    subject: Subject,
    settings: Mapping[str, str],
) -> Results:
    """Ask what no record answers, unless only the tables are wanted; all that is known then."""
    kept = Records(given.records / f"{one.name}.jsonl", subject, one)
    if given.report:
        return Results.of(one, items, kept.look())
    with kept as records:
        if given.again:
            records.forget()
        run = Run(one, items, records, say)
        if run.left():
            with here.worker(settings) as worker:
                asyncio.run(while_it_runs(_ask(run, here, subject.num_ctx), worker))
        return Results.of(one, items, records.all())


async def _ask(run: Run, site: Site, num_ctx: int) -> None:
    from local_llm_service.producers.async_client import AsyncClient

    plain = PlainOllama(site.ollama_host, site.model, num_ctx)
    try:
        async with AsyncClient() as client:
            await run.ask(Here(client, plain))
    finally:
        await plain.close()


def say(line: str) -> None:
    """Tell people how it goes; stdout is for the tables."""
    print(line, file=sys.stderr, flush=True)
