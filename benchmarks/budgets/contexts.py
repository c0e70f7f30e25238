"""Contexts of about 1,500 tokens before a paid model: what of them goes out, and what that saves.

The model at home is the embedded one, through Redis and a worker; the paid one is a scripted server
that keeps what it is sent. The judge counts that by llama.cpp's own tokenizer of the home model's
file. The price is made up: 1 USD for a million tokens of prompts.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.budgets import texts
from benchmarks.chaos.judge import Measure
from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME
from tests.doubles.openai_server import OpenAiServer

TOKENS, BOUNDS, NUM_CTX = 1_500, (100, 40), 2048
QUESTION = "What does an operator have to know of it?"
_JOB_SECONDS = 900
#: Characters of a token of these pages, about; the judge counts what they have.
_CHARACTERS = 3.6


def run(*, short: bool = False) -> tuple[list[Measure], Any]:
    """The measures, and what became of each context."""
    contexts = _contexts(2 if short else 4)
    with (
        RedisProcess() as redis,
        OllamaProcess() as ollama,
        OpenAiServer() as paid,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "engines.json"
        path.write_text(json.dumps(_file(ollama.host, paid.url)))
        settings = {
            "REDIS_URL": redis.url,
            "ENGINES_FILE": str(path),
            "MODEL_NAME": MODEL_NAME,
            "NUM_CTX": str(NUM_CTX),
            "MAX_OUTPUT_TOKENS": str(NUM_CTX // 2),
            "REMOTE_BUDGET_USD": "unlimited",
            "FIRST_TOKEN_SECONDS": "600",
        }
        os.environ["REDIS_URL"] = redis.url
        with WorkerProcess(settings):
            records = asyncio.run(_ask_each(contexts, paid))
    return _measures(records), {"jobs": records}


def _contexts(number: int) -> list[str]:
    """Sections of this project's pages, one after the other, until there is enough for each."""
    characters, joined = int(TOKENS * _CHARACTERS), "\n\n".join(texts.pages())
    return [joined[place * characters : (place + 1) * characters] for place in range(number)]


def _file(home: str, paid: str) -> dict[str, Any]:
    return {
        "engines": [
            {"name": "home", "kind": "ollama", "url": home, "models": [{"name": MODEL_NAME}]},
            {"name": "paid", "kind": "openai_compatible", "url": paid, "leaves_the_house": True,
             "models": [{"name": "large", "revision": "1", "prompt_usd": 1, "completion_usd": 2}]},
        ],
        "routes": [{"name": "auto", "local": MODEL_NAME, "remote": "large", "complex_from": 0}],
    }  # fmt: skip


async def _ask_each(contexts: list[str], paid: OpenAiServer) -> list[dict[str, Any]]:
    from local_llm_service import AsyncClient  # reads REDIS_URL when it is made

    judge = await LlamaClient.start(RunnerProfile(num_ctx=256, shift=False), 1)
    records = []
    try:
        async with AsyncClient() as client:
            for context in contexts:
                for bound in BOUNDS:
                    records.append(await _one(client, judge, paid, context, bound))
                    print(f"  {len(records)}: {records[-1]['seconds']} s", flush=True)
    finally:
        await judge.close()
    return records


async def _one(
    client: Any, judge: LlamaClient, paid: OpenAiServer, context: str, bound: int
) -> dict[str, Any]:
    began = time.monotonic()
    job = await client.generate(
        QUESTION, context=context, max_context_tokens=bound, model="auto",
        deadline_seconds=_JOB_SECONDS,
    )  # fmt: skip
    answer = await job.result(_JOB_SECONDS)
    sent = paid.requests[-1].body["messages"][-1]["content"]
    material = sent.split('"""')[1].strip()
    return {
        "bound": bound,
        "seconds": round(time.monotonic() - began, 1),
        "route": answer.route.reason,
        "context_tokens": len(await judge.tokenize(context)),
        "sent_tokens": len(await judge.tokenize(material)),
        "whole_prompt_tokens": len(await judge.tokenize(sent)),
        "said": answer.context.model_dump(),
        "left_as_it_is": context.strip() in sent,
    }


def _measures(records: list[dict[str, Any]]) -> list[Measure]:
    read = sum(one["context_tokens"] for one in records)
    sent = sum(one["sent_tokens"] for one in records)
    usd = sum(one["said"]["saved_usd"] for one in records)
    off = [abs(one["said"]["tokens"] / one["context_tokens"] - 1) for one in records]
    over = [one for one in records if one["sent_tokens"] > one["bound"]]
    return [
        Measure("contexts", len(records), note=f"of {read // len(records)} tokens on the average"),
        Measure("sent as they are", sum(one["left_as_it_is"] for one in records), 0),
        Measure("sent with more tokens than allowed", len(over), 0),
        Measure("tokens sent of a context", round(sent / len(records), 1)),
        Measure("share of the tokens saved", round(1 - sent / read, 3)),
        Measure("USD saved, at 1 USD for a million", round(usd, 6), unit="USD"),
        Measure("most that an answer's `tokens` is off", round(max(off), 3)),
        Measure("seconds for each, at home", max(one["seconds"] for one in records), note="most"),
    ]
