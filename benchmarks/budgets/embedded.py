"""60 inputs and five budgets on the embedded model, through Redis, worker and model server.

Each answer is a line of results/budgets-embedded.jsonl, on disk before the next job: the same
command goes on where it was stopped. The judge is llama.cpp's own tokenizer of the model's file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.budgets import texts
from benchmarks.budgets.judge import is_finished, verdicts
from benchmarks.budgets.scripted import BUDGETS
from benchmarks.chaos.judge import Measure
from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME
from local_llm_service.worker.errors import ServiceError

RAW = Path(__file__).parents[1] / "results" / "budgets-embedded.jsonl"
INPUTS = 60
#: Of each input; one in four is longer than the context. Longer texts take minutes on two cores.
CHARACTERS = (1_500, 1_500, 1_500, 6_000)
NUM_CTX = 1024
_JOB_SECONDS = 3_600


def run(*, short: bool = False) -> tuple[list[Measure], Any]:
    """The measures over all jobs that have been run so far, now or before."""
    inputs = [
        text[: CHARACTERS[place % len(CHARACTERS)]]
        for place, text in enumerate(texts.texts(2 if short else INPUTS, of_pages=0.7, seed=2))
    ]
    known = {(one["input"], one["budget"]) for one in _known()}
    todo = [
        (text, tokens)
        for text in inputs
        for tokens in BUDGETS
        if (_name(text), tokens) not in known
    ]
    if todo:
        _ask(todo)
    names = {_name(text) for text in inputs}
    found = [one for one in _known() if one["input"] in names]
    seconds = sum(one["seconds"] for one in found)
    return [*verdicts(found), Measure("seconds", round(seconds))], {"jobs": len(found)}


def _name(text: str) -> str:
    """Names an input in the records."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _known() -> list[dict[str, Any]]:
    if not RAW.exists():
        return []
    # A line that was torn by a kill is not there.
    return [json.loads(line) for line in RAW.read_text().splitlines() if line.endswith("}")]


def _ask(todo: list[tuple[str, int]]) -> None:
    RAW.write_text("".join(f"{json.dumps(one)}\n" for one in _known()))
    environment = {"OLLAMA_NUM_PARALLEL": "1", "EMBEDDED_THREADS": os.environ.get("THREADS", "1")}
    with RedisProcess() as redis, OllamaProcess(env=environment) as ollama:
        settings = {
            "REDIS_URL": redis.url,
            "OLLAMA_HOST": ollama.host,
            "MODEL_NAME": MODEL_NAME,
            "NUM_CTX": str(NUM_CTX),
            "MAX_OUTPUT_TOKENS": str(NUM_CTX // 2),
            "DEADLINE_SECONDS": str(_JOB_SECONDS),
            "FIRST_TOKEN_SECONDS": "900",
            "NEXT_TOKEN_SECONDS": "300",
        }
        os.environ["REDIS_URL"] = redis.url
        with WorkerProcess(settings):
            asyncio.run(_ask_each(todo))


async def _ask_each(todo: list[tuple[str, int]]) -> None:
    from local_llm_service import AsyncClient  # reads REDIS_URL when it is made

    judge = await LlamaClient.start(RunnerProfile(num_ctx=256, shift=False), 1)
    try:
        async with AsyncClient() as client:
            for number, (text, tokens) in enumerate(todo):
                record = {"input": _name(text), **await _one(client, judge, text, tokens)}
                with RAW.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(f"  {number + 1} of {len(todo)}: {record['seconds']} s", flush=True)
    finally:
        await judge.close()


async def _one(client: Any, judge: LlamaClient, text: str, tokens: int) -> dict[str, Any]:
    began = time.monotonic()
    record: dict[str, Any] = {"budget": tokens, "characters": len(text)}
    try:
        job = await client.summarize(text, max_summary_tokens=tokens, deadline_seconds=_JOB_SECONDS)
        answer = await job.result(_JOB_SECONDS)
    except ServiceError as error:
        return record | {"error": error.code, "seconds": round(time.monotonic() - began, 1)}
    counted = len(await judge.tokenize(answer.summary))
    return record | {
        "seconds": round(time.monotonic() - began, 1),
        "finish_reason": answer.finish_reason,
        "coverage": answer.coverage,
        "steps": answer.steps,
        "original_tokens": answer.original_tokens,
        "summary_tokens": answer.summary_tokens,
        "counted_tokens": counted,
        "kept": max(counted, answer.summary_tokens) <= tokens,
        "finished": is_finished(answer.summary),
        "summary": answer.summary,
    }
