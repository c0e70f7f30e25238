"""`schemas`: an instance of a JSON Schema, by this service and by Ollama's own `format`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from local_llm_service.tasks.json_schema import breach
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.structured_output import StructuredRequest
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest

#: The folder of schemas, inside one of the folders of data.
FOLDER = "schemas"
HINT = (
    f"Put JSON Schemas, one a file, or suites as json-schema-org's, into a folder {FOLDER}; for "
    "example those of https://github.com/guidance-ai/jsonschemabench."
)
#: A longer schema is left out: reading it would take most of the time.
MOST_CHARS = 2000
#: The bound of tokens of both sides.
MAX_TOKENS = 256
ASKED = "Write one realistic example."
NAIVE = (
    "Write one realistic example as JSON. It has to be an instance of this JSON Schema: {schema}"
)
_LIMITS = Limits(
    max_prompt_chars=400_000, max_messages=1, max_schema_depth=32, max_output_tokens=MAX_TOKENS
)
VALID, HANDED, WASTED = "valid", "invalid JSON handed out", "tokens of a failure"


def _items(data: Data) -> Iterator[Item]:
    folder = data.file(FOLDER, HINT)
    for file in sorted(folder.rglob("*.json")):
        for place, schema in enumerate(_schemas_in(file)):
            if _is_taken(schema):
                yield Item(f"{file.relative_to(folder)} {place}", schema)


def _schemas_in(file: Path) -> list[Any]:
    """The schema of a file, or those of a test suite that any instance keeps."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return []
    if not isinstance(value, list):
        return [value]
    groups = [one for one in value if isinstance(one, dict) and "schema" in one]
    return [
        one["schema"] for one in groups if any(case.get("valid") for case in one.get("tests", ()))
    ]


def _is_taken(schema: Any) -> bool:
    """Whether this service takes it, and Ollama may: an object, and short enough."""
    if not isinstance(schema, dict) or len(json.dumps(schema)) > MOST_CHARS:
        return False
    try:
        parse(StructuredRequest, [ASKED, schema], {}, _LIMITS)
    except InvalidRequest:
        return False
    return True


async def _ours(here: Here, item: Item) -> Outcome:
    before = await _generated()
    try:
        done = await here.ask("structured_output", prompt=ASKED, schema=item.data)
    except InvalidOutput as error:
        # The error does not say what its tries had cost; nobody else asks meanwhile.
        tokens = await _generated() - before
        return _failed(tokens, Spent(completion_tokens=tokens), "", error.code, handed=False)
    value = done.answer.data
    if await _keeps(value, item.data):
        return _right(done.spent, json.dumps(value, ensure_ascii=False))
    text = json.dumps(value, ensure_ascii=False)
    return _failed(done.spent.completion_tokens, done.spent, text, "invalid", handed=True)


async def _naive(here: Here, item: Item) -> Outcome:
    text = NAIVE.format(schema=json.dumps(item.data, ensure_ascii=False))
    reply = await here.plain.ask(text, format=item.data, max_tokens=MAX_TOKENS)
    tokens = reply.spent.completion_tokens
    try:
        value = json.loads(reply.text)
    except (ValueError, RecursionError):
        return _failed(tokens, reply.spent, reply.text, "not JSON", handed=True)
    if await _keeps(value, item.data):
        return _right(reply.spent, reply.text)
    return _failed(tokens, reply.spent, reply.text, "invalid", handed=True)


async def _generated() -> int:
    """The tokens that the service has generated in all, delivered or not."""
    from local_llm_service.producers import stats  # importing it settles which Redis is used

    return int((await asyncio.to_thread(stats))["total_tokens_generated"])


async def _keeps(value: Any, schema: Any) -> bool:
    return await asyncio.to_thread(breach, value, schema) is None


def _right(spent: Spent, text: str) -> Outcome:
    scores = {VALID: Score(1.0), HANDED: Score(0.0), WASTED: Score(0.0, 0.0)}
    return Outcome(scores, spent, text)


def _failed(tokens: int, spent: Spent, text: str, failure: str, *, handed: bool) -> Outcome:
    """`handed`: the caller got it as an answer, and no error told him that it is none."""
    scores = {VALID: Score(0.0), HANDED: Score(float(handed)), WASTED: Score(float(tokens))}
    return Outcome(scores, spent, text, failure)


SET = EvalSet(
    name="schemas",
    about=f"`structured_output` with real-world schemas of at most {MOST_CHARS} characters, and "
    f"Ollama's `format` with the schema in the prompt, too; both may write {MAX_TOKENS} tokens.",
    source=f"a folder `{FOLDER}` of your own, such as JSONSchemaBench (arXiv 2501.10868)",
    licence="that of your folder",
    kinds=("structured_output",),
    measures=(
        Measure(VALID, "answers that are JSON and keep their schema"),
        Measure(HANDED, "answers that are not, and came as if they were", better="less"),
        Measure(WASTED, "tokens that an item without a valid answer took", "tokens", "less"),
    ),
    items=_items,
    ours=_ours,
    baselines={"Ollama's format": _naive},
    worker={"MAX_OUTPUT_TOKENS": str(MAX_TOKENS)},
    limit=500,
)
