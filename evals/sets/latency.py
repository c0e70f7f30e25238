"""`latency`: small calls of each kind, as an application makes them all day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score
from evals.frame.here import Here
from local_llm_service.tasks.answer import text_of

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKENS = 100
#: Of the document, as a page has them.
CHARS = 2500
ANSWERED = "answered"
_TOPICS = (
    *("bridges", "bees", "glaciers", "violins", "windmills", "comets", "bread", "lighthouses"),
    *("maps", "tea", "rivers", "clocks", "paper", "salt", "gardens", "trains", "kites", "coral"),
    *("silk", "libraries"),
)


def _items(_: Data) -> Iterator[Item]:
    for topic in _TOPICS:
        for kind, arguments in _calls(topic).items():
            yield Item(topic, arguments, kind)


def _calls(topic: str) -> dict[str, dict[str, Any]]:
    """One call of each kind; the topic comes first, so that no call repeats the one before."""
    document = (EXAMPLES / "document.md").read_text(encoding="utf-8")[:CHARS]
    messages = json.loads((EXAMPLES / "conversation.json").read_text(encoding="utf-8"))
    book = json.loads((EXAMPLES / "book.schema.json").read_text(encoding="utf-8"))
    function = json.loads((EXAMPLES / "create_course.json").read_text(encoding="utf-8"))
    first = {"role": "user", "content": f"Let us talk about {topic} later."}
    answer = {"role": "assistant", "content": f"Gladly: {topic} it is, after this."}
    return {
        "generate": {"prompt": f"What are {topic}?", "max_tokens": TOKENS, "temperature": 0.0},
        "summarize": {"context": f"On {topic}.\n\n{document}", "max_summary_tokens": TOKENS},
        "compress": {
            "messages": [messages[0], first, answer, *messages[1:]],
            "target_tokens": TOKENS,
        },
        "extract_parameters": {
            "user_message": f"Create a course called All About {topic.title()} for organization 5",
            "function_schema": function,
        },
        "structured_output": {"prompt": f"Invent a book about {topic}.", "schema": book},
    }


async def _ours(here: Here, item: Item) -> Outcome:
    done = await here.ask(item.group, **item.data)
    plain = done.answer.model_dump()
    return Outcome({ANSWERED: Score(1.0)}, done.spent, text_of(plain))


async def _naive(here: Here, item: Item) -> Outcome:
    """One request with the same text, budget and schema."""
    given, more = item.data, {"max_tokens": TOKENS}
    match item.group:
        case "generate":
            prompt = given["prompt"]
        case "summarize":
            prompt = f"Summarize this:\n\n{given['context']}"
        case "compress":
            lines = [f"{one['role']}: {one['content']}" for one in given["messages"]]
            prompt = "Summarize this conversation:\n\n" + "\n".join(lines)
        case "structured_output":
            prompt, more = given["prompt"], {"format": given["schema"]}
        case _:
            function = given["function_schema"]
            parameters = function.get("parameters", function)
            prompt, more = given["user_message"], {"format": parameters}
    reply = await here.plain.ask(prompt, **more)
    return Outcome({ANSWERED: Score(1.0)}, reply.spent, reply.text)


SET = EvalSet(
    name="latency",
    about="Small calls of each kind, one at a time, through queues, Redis and a worker, beside one "
    "request to Ollama with the same text.",
    source="examples/",
    licence="that of this project",
    kinds=("generate", "summarize", "compress", "extract_parameters", "structured_output"),
    measures=(Measure(ANSWERED, "calls that were answered"),),
    items=_items,
    ours=_ours,
    baselines={"one request to Ollama": _naive},
)
