"""The log as a set: this service with a route, beside sending everything, and beside sending none.

The paid model is simulated (`paid_model.py`); the local one is real.
"""

from __future__ import annotations

import asyncio
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
from evals.routing.paid_model import NAME, Billed, PaidModel, tokens_of
from local_llm_service.worker.fleet.price import Price

ROUTE = "evaluated"
ALL_PAID, ALL_LOCAL = "everything to the paid model", "everything local"

AT_HOME = Measure("answered locally", "answers of the local model")
USD = Measure("USD for 1,000", "what the paid model bills for 1,000 queries", "USD", "less")
LEDGER = Measure("in the ledger", "the same, as the savings ledger has it", "USD", "less")
CONTEXT = Measure("context sent", "of a context's tokens, what leaves the house", better="less")
ESCALATED = Measure("asked again", "queries whose local answer was not taken", better="less")
LOST = Measure("seconds lost", "time of local tries that were not taken", "seconds", "less")
TOKENS_LOST = Measure("tokens lost", "of local tries, as the ledger has them", "tokens", "less")
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
        """What 1,000 calls of these tokens cost, USD."""
        return self.price.nano_usd(billed.prompt_tokens, billed.completion_tokens) / 1e6

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
    measures = [AT_HOME, USD, LEDGER, ESCALATED, LOST, TOKENS_LOST]
    if any(one.context for one in queries):
        measures.append(CONTEXT)
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
        before = await _Ledger.read()
        done = await Here(here.client, here.plain.of(ROUTE)).ask("generate", **self._call(query))
        entered = await _Ledger.read() - before
        answer, route = done.answer, done.answer.route
        at_home = route.chosen != NAME
        again = not at_home and any(one.model != NAME for one in route.tried)
        own = sum(filter(None, answer.timings.model_dump().values()))
        scores = {
            AT_HOME.name: Score(float(at_home)),
            USD.name: Score(self.order.usd(self.paid.take_bill())),
            LEDGER.name: Score(1000 * entered.usd),
            CONTEXT.name: _left(answer.context, at_home),
            ESCALATED.name: Score(float(again)),
            LOST.name: Score(max(0.0, done.spent.seconds - own) if again else 0.0),
            TOKENS_LOST.name: Score(entered.tokens_lost),
        }
        # Why, in the record: the reasons of a route hold nothing of a prompt.
        return Outcome(_with_right(scores, query, answer.text), done.spent, route.reason)

    async def all_paid(self, here: Here, item: Item) -> Outcome:
        """Straight to the paid model, context and all."""
        query: Query = item.data
        self.paid.expect(_first(query))
        self.paid.take_bill()
        prompt = query.prompt if query.context is None else f"{query.context}\n\n{query.prompt}"
        message = {"role": "user", "content": prompt}
        body = {"model": NAME, "messages": [message], "max_tokens": self.order.max_tokens}
        async with httpx.AsyncClient(trust_env=False) as http:
            reply = (await http.post(f"{self.paid.url}/chat/completions", json=body)).json()
        billed, context = self.paid.take_bill(), tokens_of(query.context or "")
        scores = {
            **_at_no_cost(at_home=False),
            USD.name: Score(self.order.usd(billed)),
            LEDGER.name: Score(self.order.usd(billed)),
            CONTEXT.name: Score(context, context),
        }
        spent = Spent(billed.prompt_tokens, billed.completion_tokens)
        text = reply["choices"][0]["message"]["content"]
        return Outcome(_with_right(scores, query, text), spent)

    async def all_local(self, here: Here, item: Item) -> Outcome:
        """The local model by its name."""
        done = await here.ask("generate", **self._call(item.data))
        context = Score(0.0, tokens_of(item.data.context or ""))
        scores = {**_at_no_cost(at_home=True), CONTEXT.name: context}
        return Outcome(_with_right(scores, item.data, done.answer.text), done.spent)

    def _call(self, query: Query) -> dict[str, Any]:
        call: dict[str, Any] = {"prompt": query.prompt, "max_tokens": self.order.max_tokens}
        if query.context is not None:
            call["context"] = query.context
            if self.order.context_tokens is not None:
                call["max_context_tokens"] = self.order.context_tokens
        return call | {"temperature": 0.0}


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What the savings ledger has of the route: money for completions and for none, and tokens
    that led to no answer."""

    usd: float
    tokens_lost: float

    @classmethod
    async def read(cls) -> _Ledger:
        """As it is now; a job is in it before its result is there."""
        from local_llm_service.producers.service import usage  # settles which Redis is used

        row = (await asyncio.to_thread(usage, "route")).rows.get(ROUTE, {})
        lost = row.get("wasted_prompt", 0) + row.get("wasted_completion", 0)
        return cls(float(row.get("paid_usd", 0) + row.get("wasted_usd", 0)), float(lost))

    def __sub__(self, before: _Ledger) -> _Ledger:
        return _Ledger(self.usd - before.usd, self.tokens_lost - before.tokens_lost)


def _left(use: Any, at_home: bool) -> Score:
    """Of a context, what left the house."""
    if use is None:
        return Score(0.0, 0.0)
    return Score(0.0 if at_home else use.sent_tokens, use.tokens)


def _at_no_cost(*, at_home: bool) -> dict[str, Score]:
    """Scores of one who asks one model alone."""
    free = (USD, LEDGER, ESCALATED, LOST, TOKENS_LOST)
    return {AT_HOME.name: Score(float(at_home)), **{one.name: Score(0.0) for one in free}}


def _with_right(scores: dict[str, Score], query: Query, text: str) -> dict[str, Score]:
    if query.expected:
        return scores | {RIGHT.name: Score(float(holds(text, query.expected)))}
    return scores | {RIGHT.name: Score(0.0, 0.0)}


def _first(query: Query) -> str:
    return query.expected[0] if query.expected else ""


def _plain(usd: Decimal) -> float | int:
    return int(usd) if usd == usd.to_integral_value() else float(usd)
