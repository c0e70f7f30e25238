"""Function calls of the Berkeley Function-Calling Leaderboard: items, and its rules for a match.

Its schemas are in words of Python's ("dict", "float", "tuple"); both sides get them as JSON Schema.
The rules are those of its AST check for Python: each value is one of those accepted, by Python's
type, texts without regard to case, spaces and some punctuation; where "" is accepted, the parameter
may be left out. What is read here is the data alone; none of its code runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.frame.data import Data, json_lines

SOURCE = "BFCL v4 (PyPI bfcl-eval)"
LICENCE = "Apache-2.0"
_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_PYTHON_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_UNREAD = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True)
class FunctionCall:
    """One message, the functions that may be called, and what calls are right.

    `accepted` has the values of each parameter of `name`; None: no function fits.
    """

    key: str
    message: str
    functions: Sequence[dict[str, Any]]
    name: str | None
    accepted: Mapping[str, list[Any]]

    @property
    def own(self) -> dict[str, Any]:
        """The function of the right call, as BFCL writes it."""
        return next(one for one in self.functions if one["name"] == self.name)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The functions as JSON Schema has them."""
        return [as_json_schema(one) for one in self.functions]

    def is_right(self, name: Any, arguments: Any) -> bool:
        """Whether a call has the right function and exactly accepted arguments."""
        if self.name is None or name is None:
            return self.name is None and name is None
        return name == self.name and isinstance(arguments, dict) and self._accepts(arguments)

    def _accepts(self, arguments: Mapping[str, Any]) -> bool:
        parameters = self.own["parameters"]
        if any(name not in arguments for name in parameters.get("required", ())):
            return False
        if any(name not in arguments and "" not in ok for name, ok in self.accepted.items()):
            return False
        return all(
            name in parameters["properties"]
            and name in self.accepted
            and _fits(value, parameters["properties"][name], self.accepted[name])
            for name, value in arguments.items()
        )


def calls(data: Data, category: str) -> list[FunctionCall]:
    """The items of a category, as "simple_python". Raises DataMissing."""
    questions = _read(data, f"BFCL_v4_{category}")
    truths: dict[str, Any] = {}
    if "irrelevance" not in category:
        answers = _read(data, f"possible_answer/BFCL_v4_{category}")
        truths = {one["id"]: one["ground_truth"][0] for one in answers}
    found = []
    for one in questions:
        message = "\n".join(turn["content"] for turn in one["question"][0])
        name, accepted = next(iter(truths.get(one["id"], {None: {}}).items()))
        found.append(FunctionCall(one["id"], message, one["function"], name, accepted))
    return found


def as_json_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function with its parameters as JSON Schema."""
    return {**function, "parameters": _schema(function["parameters"])}


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    plain = {word: value for word, value in schema.items() if word != "optional"}
    if isinstance(plain.get("type"), str):
        plain["type"] = _JSON_TYPES.get(plain["type"], plain["type"])
    if isinstance(plain.get("properties"), dict):
        plain["properties"] = {name: _schema(one) for name, one in plain["properties"].items()}
    for word in ("items", "additionalProperties"):
        if word in plain:
            plain[word] = _schema(plain[word])
    return plain


def _read(data: Data, name: str) -> list[Any]:
    return json_lines(data.in_package("bfcl_eval", "bfcl-eval", f"data/{name}.json"))


# --- A value beside those accepted ----------------------------------------------------------------


def _fits(value: Any, schema: Mapping[str, Any], accepted: Sequence[Any]) -> bool:
    """Whether a value is one of those accepted, by the type that its schema names."""
    wanted = _PYTHON_TYPES[schema["type"]]
    if schema["type"] == "float" and type(value) is int:
        value = float(value)
    if wanted is list and type(value) is list:
        inner = _PYTHON_TYPES[schema["items"]["type"]]
        if not _has_types(value, inner, accepted):
            return False
        if inner is dict:
            return any(_same_objects(value, one) for one in accepted if isinstance(one, list))
        return any(_plain(value) == _plain(list(one)) for one in accepted)
    # A value of the accepted ones' own type stands for a variable.
    if type(value) is not wanted and type(value) is not _type_of(accepted):
        return False
    if type(value) is wanted is dict:
        return any(_same_object(value, one) for one in accepted if isinstance(one, dict))
    if isinstance(value, str):
        return _plain(value) in [_plain(one) for one in accepted if isinstance(one, str)]
    return value in accepted


def _has_types(values: Sequence[Any], wanted: type, accepted: Sequence[Any]) -> bool:
    return any(
        all(type(value) is wanted or type(value) is _type_of(one) for value in values)
        for one in accepted
        if isinstance(one, list)
    )


def _type_of(accepted: Sequence[Any]) -> type | None:
    return next((type(one) for one in accepted if one != ""), None)


def _same_object(value: Mapping[str, Any], accepted: Mapping[str, list[Any]]) -> bool:
    return all(
        name in accepted and _plain(one) in [_plain(other) for other in accepted[name]]
        for name, one in value.items()
    ) and all(name in value or "" in ok for name, ok in accepted.items())


def _same_objects(values: Sequence[Any], accepted: Sequence[Any]) -> bool:
    return len(values) == len(accepted) and all(
        isinstance(value, dict) and _same_object(value, one)
        for value, one in zip(values, accepted, strict=True)
    )


def _plain(value: Any) -> Any:
    """Texts without what the leaderboard does not read; numbers as they are."""
    if isinstance(value, str):
        return _UNREAD.sub("", value).lower().replace("'", '"')
    return [_plain(one) for one in value] if isinstance(value, list) else value
