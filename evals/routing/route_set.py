"""The log as a set: this service with a route, beside sending everything, and beside sending none.

The paid model is simulated (`paid_model.py`); the local one is real.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import holds
from evals.routing.log import Query
from evals.routing.paid_model import NAME, Billed, PaidModel
from local_llm_service.worker.fleet.price import Price

ROUTE = "evaluated"
ALL_PAID, ALL_LOCAL = "everything to the paid model", "everything local"

AT_HOME = Measure("answered locally", "answers of the local model")
USD = Measure("USD", "what the paid model bills, failed tries too", "USD", "less")
CONTEXT = Measure("context sent", "of a context's tokens, what leaves the house", better="less")
ESCALATED = Measure("asked again", "queries whose local answer was not taken", better="less")
LOST = Measure("seconds lost", "time of local tries that were not taken", "seconds", "less")
RIGHT = Measure("right", "answers that hold a string that the log expects")


@dataclass(frozen=True, slots=True)
class Order:
    """How the route and its calls are set up; all of it is part of a record's version."""

    price: Price
    price_from: str = "as given"
    complex_from: float | None = None
    cascade: bool = True
    router: str | None = None
    router_file: str | None = None
    budget: str = "unlimited"
    max_tokens: int = 200
    answer_tokens: int = 200
    context_tokens: int | None = None

    @property
    def version(self) -> int:
        """Another one for any other order, also where a router's file holds something else."""
        what = repr(self).encode()
        if self.router_file is not None:
            what += Path(self.router_file).read_bytes()
        return 1 + zlib.crc32(what)

    def usd(self, billed: Billed) -> float:
        """What tokens cost, USD."""
        return self.price.nano_usd(billed.prompt_tokens, billed.completion_tokens) / 1e9

    def fleet_file(self, local_model: str, ollama_host: str, paid_url: str) -> str:
        """The ENGINES_FILE, as JSON."""
        paid = {"name": NAME, "context_tokens": 131_072}
        paid |= {"prompt_usd": _plain(self.price.prompt_usd)}
        paid |= {"completion_usd": _plain(self.price.completion_usd)}
        route: dict[str, Any] = {"name": ROUTE, "local": local_model, "remote": NAME}
        route |= {"cascade": self.cascade}
        if self.complex_from is not None:
            route["complex_from"] = self.complex_from
        local: dict[str, Any] = {
            "name": "local",
            "kind": "ollama",
            "url": ollama_host,
            "leaves_the_house": False,
        }
        remote: dict[str, Any] = {"name": "simulated", "kind": "openai_compatible", "url": paid_url}
        remote |= {"leaves_the_house": True, "models": [paid]}
        return json.dumps({"engines": [local, remote], "routes": [route]})

    def worker(self, fleet_file: Path) -> dict[str, str]:
        """The worker's settings."""
        found = {"ENGINES_FILE": str(fleet_file), "REMOTE_BUDGET_USD": self.budget}
        if self.router is not None:
            found["ROUTER"] = self.router
        if self.router_file is not None:
            found["ROUTER_FILE"] = str(Path(self.router_file).resolve())
        return found


def route_set(
    queries: Sequence[Query], order: Order, paid: PaidModel, worker: Mapping[str, str]
) -> EvalSet:
    """The set of a log. `everything local` is asked only where the log says what is right."""
    asking = _Asking(order, paid)
    baselines: dict[str, Callable[[Here, Item], Awaitable[Outcome]]] = {ALL_PAID: asking.all_paid}
    measures = [AT_HOME, USD, CONTEXT, ESCALATED, LOST]
    if any(one.expected for one in queries):
        baselines[ALL_LOCAL] = asking.all_local
        measures.append(RIGHT)
    return EvalSet(
        name="routing",
        about="Each distinct query of a log once, through a route; the paid model is simulated: it "
        f"says what the log expects, in {order.answer_tokens} tokens.",
        source="the log",
        licence="yours",
        kinds=("generate",),
        measures=tuple(measures),
        items=lambda _: [_item(one) for one in queries],
        ours=asking.ours,
        baselines=baselines,
        version=order.version,
        worker=worker,
    )


def _item(query: Query) -> Item:
    possible = {CONTEXT.name: 0.0, RIGHT.name: float(bool(query.expected))}
    return Item(query.key, query, possible=possible)


@dataclass(frozen=True)
class _Asking:
    """The sides."""

    order: Order
    paid: PaidModel

    async def ours(self, here: Here, item: Item) -> Outcome:
        """Through the route. What the paid model bills meanwhile is this query's."""
        query: Query = item.data
        self.paid.expect(_first(query))
        self.paid.take_bill()
        done = await Here(here.client, here.plain.of(ROUTE)).ask("generate", **self._call(query))
        answer, route = done.answer, done.answer.route
        at_home = route.chosen != NAME
        timed = answer.timings.model_dump()
        own = sum(value for value in timed.values() if isinstance(value, int | float))
        again = any(one.model != NAME for one in route.tried) and not at_home
        sent = answer.context
        scores = {
            AT_HOME.name: Score(float(at_home)),
            USD.name: Score(self.order.usd(self.paid.take_bill())),
            CONTEXT.name: Score(0.0, 0.0)
            if at_home or sent is None
            else Score(sent.sent_tokens, sent.tokens),
            ESCALATED.name: Score(float(again)),
            LOST.name: Score(max(0.0, done.spent.seconds - own) if again else 0.0),
        }
        # Why, in the record: the reasons of a route hold nothing of a prompt.
        return Outcome(_with_right(scores, query, answer.text), done.spent, route.reason)

    async def all_paid(self, here: Here, item: Item) -> Outcome:
        """Straight to the paid model, context and all."""
        query: Query = item.data
        self.paid.expect(_first(query))
        self.paid.take_bill()
        prompt = query.prompt if query.context is None else f"{query.context}\n\n{query.prompt}"
        body = {"model": NAME, "messages": [{"role": "user", "content": prompt}]}
        async with httpx.AsyncClient(trust_env=False) as http:
            reply = (await http.post(f"{self.paid.url}/chat/completions", json=body)).json()
        billed = self.paid.take_bill()
        scores = {
            AT_HOME.name: Score(0.0),
            USD.name: Score(self.order.usd(billed)),
            CONTEXT.name: Score(0.0, 0.0) if query.context is None else Score(1.0),
            ESCALATED.name: Score(0.0),
            LOST.name: Score(0.0),
        }
        spent = Spent(billed.prompt_tokens, billed.completion_tokens)
        text = reply["choices"][0]["message"]["content"]
        return Outcome(_with_right(scores, query, text), spent)

    async def all_local(self, here: Here, item: Item) -> Outcome:
        """The local model by its name."""
        done = await here.ask("generate", **self._call(item.data))
        scores = {
            AT_HOME.name: Score(1.0),
            USD.name: Score(0.0),
            CONTEXT.name: Score(0.0, 0.0),
            ESCALATED.name: Score(0.0),
            LOST.name: Score(0.0),
        }
        return Outcome(_with_right(scores, item.data, done.answer.text), done.spent)

    def _call(self, query: Query) -> dict[str, Any]:
        call: dict[str, Any] = {"prompt": query.prompt, "max_tokens": self.order.max_tokens}
        if query.context is not None:
            call["context"] = query.context
            if self.order.context_tokens is not None:
                call["max_context_tokens"] = self.order.context_tokens
        return call | {"temperature": 0.0}


def _with_right(scores: dict[str, Score], query: Query, text: str) -> dict[str, Score]:
    if query.expected:
        return scores | {RIGHT.name: Score(float(holds(text, query.expected)))}
    return scores | {RIGHT.name: Score(0.0, 0.0)}


def _first(query: Query) -> str:
    return query.expected[0] if query.expected else ""


def _plain(usd: Decimal) -> float | int:
    return int(usd) if usd == usd.to_integral_value() else float(usd)
