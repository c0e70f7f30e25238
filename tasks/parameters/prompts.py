"""The prompts of `extract_parameters`. What is the same for all calls comes first.

The examples are about functions that no caller has, and show null for what is not said: with them
the model of 135M parameters invents fewer optional values. An engine evaluates them once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from local_llm_service.tasks.parameters.functions import Function
from local_llm_service.worker.prompt import Message

READ: Final = (
    "You read the arguments of a function out of a user's message. Copy words and numbers from the "
    "message. Write null for what the message does not say."
)
READ_EXAMPLES: Final = (
    (
        "Function: order_chairs: Orders chairs.\n"
        "- item (string): The chair.\n"
        "- count (integer): How many.\n"
        "- customer (string): Who orders.\n"
        "Message: Order 3 blue chairs for Ann",
        '{"item": "blue chairs", "count": 3, "customer": "Ann"}',
    ),
    (
        "Function: find_train: Looks for a train.\n"
        "- start (string): Where from.\n"
        "- goal (string): Where to.\n"
        "- passengers (integer)\n"
        "- hours (number): At most.\n"
        "Message: I want to go to Oslo within 2.5 hours",
        '{"start": null, "goal": "Oslo", "passengers": null, "hours": 2.5}',
    ),
)
CHOOSE: Final = (
    "You choose the function that does what a user's message asks for. Answer with its name, or "
    "with null if none of them does."
)
CHOOSE_EXAMPLES: Final = (
    (
        "Functions:\n"
        "- order_chairs: Orders chairs.\n"
        "- find_train: Looks for a train.\n"
        "Message: I want to go to Oslo within 2.5 hours",
        '{"function": "find_train"}',
    ),
    (
        "Functions:\n"
        "- order_chairs: Orders chairs.\n"
        "- pay_bill: Pays a bill.\n"
        "Message: Who painted this picture?",
        '{"function": null}',
    ),
)


def reading(function: Function, names: Iterable[str], message: str) -> tuple[Message, ...]:
    """Asks for the named parameters of a function; None of them is more than a line."""
    lines = [_headed("Function: ", function)]
    lines += [_line(name, function.properties[name]) for name in names]
    return _conversation(READ, READ_EXAMPLES, lines, message)


def reading_by_schema(
    function: Function, message: str, doubted: Iterable[str] = ()
) -> tuple[Message, ...]:
    """The same where only the whole schema says what the parameters are.

    `doubted`: those that an earlier answer had made up.
    """
    schema = json.dumps(function.parameters, ensure_ascii=False)
    lines = [_headed("Function: ", function), f"The JSON Schema is {schema}"]
    if names := ", ".join(doubted):
        lines.append(f"An earlier answer made these up; copy them: {names}")
    return _conversation(READ, READ_EXAMPLES, lines, message)


def choosing(functions: Iterable[Function], message: str) -> tuple[Message, ...]:
    """Asks which function is meant."""
    lines = ["Functions:", *(_headed("- ", one) for one in functions)]
    return _conversation(CHOOSE, CHOOSE_EXAMPLES, lines, message)


def _conversation(
    system: str, examples: Iterable[tuple[str, str]], lines: Sequence[str], message: str
) -> tuple[Message, ...]:
    said: list[Message] = [{"role": "system", "content": system}]
    for question, answer in examples:
        said.append({"role": "user", "content": question})
        said.append({"role": "assistant", "content": answer})
    question = "\n".join([*lines, f"Message: {message}"])
    return (*said, {"role": "user", "content": question})


def _headed(head: str, function: Function) -> str:
    described = f": {function.description}" if function.description else ""
    return f"{head}{function.name}{described}"


def _line(name: str, schema: Any) -> str:
    """A parameter as the examples have it; what a few words cannot say, as its schema."""
    described = schema.get("description") if isinstance(schema, dict) else None
    if isinstance(described, str):
        schema = {word: value for word, value in schema.items() if word != "description"}
    return f"- {name} ({_type(schema)})" + (f": {described}" if isinstance(described, str) else "")


_SIMPLE = ("string", "integer", "number", "boolean")


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    rest = schema.keys() - {"type", "title", "default", "examples"}
    kind, items = schema.get("type"), schema.get("items")
    if kind in _SIMPLE and not rest:
        return str(kind)
    if isinstance(schema.get("enum"), list) and rest == {"enum"}:
        return "one of " + ", ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    if kind == "array" and rest == {"items"} and isinstance(items, dict):
        return f"list of {_type({k: v for k, v in items.items() if k != 'description'})}s"
    return json.dumps(schema, ensure_ascii=False)
