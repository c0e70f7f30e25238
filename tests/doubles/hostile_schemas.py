"""Schemas that hang a careless validator, each with an answer that makes it work hardest.

`PATTERNS` are 50 regular expressions that take exponential or polynomial time in a matcher that
tries one way after the other (as Python's `re`), or whose repeats are huge once written out.
`BOMBS` are small schemas that stand for huge ones by references.
"""

from __future__ import annotations

from typing import Any

A, X, SPACES, DIGITS = "a" * 40 + "!", "x" * 40, " " * 8000 + "!", "1" * 40 + "!"
LONG = "a" * 8000 + "!"

#: (pattern, text to match it with)
PATTERNS: list[tuple[str, str]] = [
    (r"^(a+)+$", A),
    (r"^(a*)*$", A),
    (r"^(a|a)*$", A),
    (r"^(a|aa)+$", A),
    (r"^(a|a?)+$", A),
    (r"^((a+)+)+$", A),
    (r"^(a+){10,}$", A),
    (r"^(a{1,40})+$", A),
    (r"^([a-z]+)*$", A),
    (r"^([a-z]*)*\d$", A),
    (r"^(\w+\s?)*$", A),
    (r"^(\w+\s?)+\.$", "a" * 40),
    (r"(x+x+)+y", X),
    (r"(x+x+x+)+y", X),
    (r"(x*)*y", X),
    (r"(.*)*y", X),
    (r"(.*x){20}y", X),
    (r"^(.*?,){20}P$", "1," * 30),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", A),
    (r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}[a-z]{2,3}$", A),
    (r"^[a-z]+([._-]?[a-z]+)*@[a-z]+\.[a-z]+$", A),
    (r"^(\d+)+$", DIGITS),
    (r"^(\d*,?)*;$", "1," * 30),
    (r"^(\d+(,\d+)*)+$", DIGITS),
    (r"^\$?(\d{1,3},?(\d{3},?)*\d{3}(\.\d{0,2})?|\d{1,3}(\.\d{0,2})?)$", DIGITS),
    (r"^(-?\d+)*$", DIGITS),
    (r"^(\s*\w*\s*)*;$", A),
    (r"\s+$", SPACES),
    (r"^\s*\s*\s*\s*$", SPACES),
    (r"\s*;", SPACES),
    (r"a*a*a*a*b", LONG),
    (r"^.*.*.*.*=.*$", LONG),
    (r"<(\w+)(\s+\w+=\"[^\"]*\")*\s*>", "<a" + ' b="c"' * 400),
    (r"^(?:(?:(?:a?)?)?)*b$", A),
    (r"^(a?){40}a{40}$", "a" * 39),
    (r"^(?:a?){60}a{60}$", "a" * 59),
    (r"((a{0,30}){0,30}){0,30}b", A),
    (r"(?:a{1000}){1000}", A),
    (r"(?:(?:(?:a{99}){99}){99}){99}", A),
    (r"\p{L}{1000}", A),
    (r"[^b]{5000}", A),
    (r".{9999}", A),
    (r"^(a+)+\1$", A),
    (r"^(a|aa)+\1$", A),
    (r"^(?=(a+)+$)b", A),
    (r"^(?!(a|aa)+$)a+$", "a" * 40),
    (r"(?<=(a))(a+)+$", A),
    (r"^(?=.*.*.*.*=)", LONG),
    (r"^(([^\"]|\"\")*)*\"$", A),
    ("(" * 20_000 + ")" * 20_000, A),
]


def doubled(levels: int, keyword: str = "allOf", leaf: Any = None) -> dict[str, Any]:
    """A schema of 2**levels parts: each level refers to the next one twice."""
    parts: dict[str, Any] = {
        f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    parts[f"d{levels}"] = leaf or {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": parts}


def doubled_below(levels: int) -> dict[str, Any]:
    """The same through lists: only the instance's depth makes it large."""
    parts: dict[str, Any] = {
        f"d{n}": {"items": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2}} for n in range(levels)
    }
    parts[f"d{levels}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": parts}


def explored(levels: int) -> dict[str, Any]:
    """`unevaluatedProperties` evaluates what is beside it again, at each level."""
    schema: dict[str, Any] = {"properties": {"x": {"type": "integer"}}}
    for _ in range(levels):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


def chain(length: int) -> dict[str, Any]:
    """References one after the other: 250 take 8 kB."""
    parts: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    parts[f"d{length}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": parts}


def nested(depth: int) -> Any:
    """A list in a list in a list …"""
    value: Any = "leaf"
    for _ in range(depth):
        value = [value]
    return value


#: Name → (schema, instance).
BOMBS: dict[str, tuple[Any, Any]] = {
    "28 levels of doubled allOf": (doubled(28), "x"),
    "60 levels of doubled anyOf": (doubled(60, "anyOf", {"type": "integer"}), "x"),
    "28 levels of doubled oneOf": (doubled(28, "oneOf"), "x"),
    "15 levels of doubled anyOf": (doubled(15, "anyOf", {"type": "integer"}), "x"),
    "250 references": (chain(250), "x"),
    "2500 references": (chain(2500), "x"),
    "20 levels of doubled lists": (doubled_below(20), nested(20)),
    "30 levels of doubled lists": (doubled_below(30), nested(30)),
    "10 levels of unevaluatedProperties": (explored(10), {"x": 1}),
    "28 levels of unevaluatedProperties": (explored(28), {"x": 1}),
    "a doubled reference to itself": (
        {"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        nested(200),
    ),
    "a circle": ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}, 1),
    "2000 patterns on 200 names": (
        {"patternProperties": {f"^{n}.*x+y": {} for n in range(2000)}},
        {f"{n}{X}": n for n in range(200)},
    ),
    "3000 large patterns": (
        {"properties": {f"p{n}": {"pattern": f"^{n}.{{1,100}}$"} for n in range(3000)}},
        {"p1": "1x"},
    ),
    "8000 constants": ({"items": {"enum": [f"v{n}" for n in range(8000)]}}, ["v7999"] * 500),
    "1500 dynamic references": (
        {"$defs": {f"d{n}": {"$dynamicAnchor": "a", "$dynamicRef": "#a"} for n in range(1500)}},
        "x",
    ),
}
