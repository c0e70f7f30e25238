"""How much work a schema makes, counted before anything is built or evaluated.

A validator evaluates a schema that is referred to twice two times, and so on with each level: 2 kB
of schema can take longer than a day, in one call that holds the interpreter. So the work is counted
here first, where each pair of schema and value counts once and is remembered.

One unit is about 20 ns of jsonschema-rs 0.61 on a small server (benchmarks/bench_schemas.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from local_llm_service.tasks.schema_graph import Node, SchemaGraph

#: Counts end here: larger ones do not differ in what follows.
CEILING = 10**15
#: How often schemas beside `unevaluatedProperties` or `unevaluatedItems` are evaluated (measured:
#: times 2.4 for each level).
_EXPLORED = 3
#: Costs of building: units for a subschema, a value in it, and one weight of a pattern.
_BUILD_NODE, _BUILD_VALUE, _BUILD_WEIGHT = 150, 50, 10
#: Weights of regular expressions: a character; a class with nearly all of Unicode; `\p{…}`.
_WIDE, _PROPERTY = 40, 1000
#: Weight of reading a character of a regular expression.
_READING = 15
_TOKEN = re.compile(r"\\[pP](?:\{[^}]*\}?)?|\\.|\[(?:\\.|[^\]\\])*\]?|\{\d*,?\d*\}|.", re.DOTALL)
_WIDE_PART, _LARGE_PART = re.compile(r"[^\x00-\x7f]|\\[WDS]"), re.compile(r"\\[pP]")
#: Looking around or back, and repeats that give nothing back: these are tried step by step.
_FANCY = re.compile(r"\(\?<?[=!>]|\\[1-9k]|[*+?]\+|\d\}\+")
#: Units of the most steps of one (schema_verdict.py).
_FANCY_MOST = 200_000
_MOST_REPEATS = 100_000

Key = TypeVar("Key")


def circle(graph: SchemaGraph) -> bool:
    """Whether a schema applies itself to the same value, which never ends."""
    done: set[int] = set()
    for first in graph:
        path, open_ = [(first, iter(first.in_place))], {id(first)}
        if id(first) in done:
            continue
        while path:
            node, parts = path[-1]
            part = next(parts, None)
            if part is None:
                path.pop()
                open_.discard(id(node))
                done.add(id(node))
            elif id(part) in open_:
                return True
            elif id(part) not in done:
                path.append((part, iter(part.in_place)))
                open_.add(id(part))
    return False


def most_on_one_value(graph: SchemaGraph) -> int:
    """The largest number of schemas that are evaluated for one value, over all subschemas."""
    counts: dict[int, int] = {}

    def parts(node: Node) -> list[Node]:
        return [*node.in_place, *node.dynamic]

    def count(node: Node, below: Iterable[int]) -> int:
        return 1 + sum(below) * (_EXPLORED if node.is_exploring else 1)

    for node in graph:
        _count(node, id, parts, count, counts)
    return max(counts.values(), default=1)


def building(graph: SchemaGraph) -> int:
    """Units of building the validator."""
    values = sum(_own_weight(node)[0] for node in graph)
    return len(graph) * _BUILD_NODE + values * _BUILD_VALUE + pattern_weight(graph) * _BUILD_WEIGHT


def pattern_weight(graph: SchemaGraph) -> int:
    """The size of all regular expressions once their repeats are written out."""
    patterns = (pattern for node in graph for pattern in node.patterns)
    return min(CEILING, sum(weight_of(one) + _READING * len(one) for one in patterns))


def evaluating(graph: SchemaGraph, instance: Any, *, most_steps: int) -> int:
    """Units of evaluating an instance; CEILING if counting them took more than `most_steps`."""
    if graph.root is None:
        return 1
    try:
        return _Evaluation(instance, most_steps).units(graph.root)
    except _TooManySteps:
        return CEILING


def weight_of(pattern: str, wide: int = _WIDE, large: int = _PROPERTY) -> int:
    """The size of a regular expression with its repeats written out, roughly; linear in time.

    A character weighs 1, a class with nearly all of Unicode `wide`, one like `\\p{L}` `large`.
    """
    groups, last = [0], 0
    for token in _TOKEN.findall(pattern):
        if token == "(":
            groups[-1] += last
            groups.append(0)
            last = 0
        elif token == ")" and len(groups) > 1:
            last += groups.pop() + 1
        elif token[0] == "{" and len(token) > 2:
            last = min(CEILING, last * _repeats(token))
        elif token not in "*+?|":
            groups[-1] += last
            last = _weight_of_atom(token, wide, large)
    return min(CEILING, (sum(groups) + last) * (4 if "(?i" in pattern else 1))


class _TooManySteps(Exception):
    """Counting itself would take too long."""


class _Evaluation:
    """Counts the units of one instance; a pair of schema and value counts once."""

    def __init__(self, instance: Any, most_steps: int) -> None:
        self._instance, self._steps = instance, most_steps
        self._sizes: dict[int, int] = {}
        #: Of each schema: its own units; the weights of its patterns, of all and of the fancy ones.
        self._own: dict[int, tuple[int, int, int]] = {}

    def units(self, root: Node) -> int:
        """Units of evaluating the whole. Raises _TooManySteps."""
        pairs: dict[tuple[int, int], int] = {}
        return _count((root, self._instance), _pair, self._parts, self._units, pairs)

    def _step(self, steps: int = 1) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise _TooManySteps

    def _parts(self, pair: tuple[Node, Any]) -> list[tuple[Node, Any]]:
        found = []
        self._step()
        for part in _applied(*pair):
            self._step()
            found.append(part)
        return found

    def _units(self, pair: tuple[Node, Any], below: Iterable[int]) -> int:
        node, value = pair
        if id(node) not in self._own:
            self._own[id(node)] = _own_weight(node)
        own, weight, fancy = self._own[id(node)]
        if weight:
            own += self._matching(weight, fancy, value)
        if node.is_comparing:
            own += 4 * _count(value, id, _below, _size, self._sizes)
        return own + sum(below) * (_EXPLORED if node.is_exploring else 1)

    def _matching(self, weight: int, fancy: int, value: Any) -> int:
        """Units of matching the regular expressions of a schema with a text or with names."""
        texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
        self._step(len(texts))
        units = 0
        for text in texts:
            chars = 16 + len(text)
            units += weight * chars // 10 + fancy * chars * chars // 100
            if fancy:
                units += min(_FANCY_MOST, fancy << min(30, len(text)))
        return units


def _pair(pair: tuple[Node, Any]) -> tuple[int, int]:
    return id(pair[0]), id(pair[1])


def _count(
    first: Key,
    key: Callable[[Key], Any],
    parts: Callable[[Key], list[Key]],
    count: Callable[[Key, Iterable[int]], int],
    counts: dict[Any, int],
) -> int:
    """Count a thing from the counts of its parts, each once. A thing inside itself counts nothing.

    With an own stack: the parts can be nested as deep as a caller likes.
    """
    stack, open_ = [_entered(first, parts)], {key(first)}
    while stack:
        thing, its_parts, rest = stack[-1]
        part = next((p for p in rest if key(p) not in counts and key(p) not in open_), None)
        if part is not None:
            open_.add(key(part))
            stack.append(_entered(part, parts))
            continue
        stack.pop()
        open_.discard(key(thing))
        below = (counts.get(key(one), 0) for one in its_parts)
        counts[key(thing)] = min(CEILING, count(thing, below))
    return counts[key(first)]


def _entered(thing: Key, parts: Callable[[Key], list[Key]]) -> tuple[Key, list[Key], Iterator[Key]]:
    its_parts = parts(thing)
    return thing, its_parts, iter(its_parts)


def _applied(node: Node, value: Any) -> Iterable[tuple[Node, Any]]:
    """The schemas that a schema applies, each with its value: never fewer than a validator does."""
    for part in (*node.in_place, *node.dynamic):
        yield part, value
    if isinstance(value, dict):
        for name, member in value.items():
            if name in node.by_name:
                yield node.by_name[name], member
            for part in node.per_member:
                yield part, member
            for part in node.per_name:
                yield part, name
    elif isinstance(value, list):
        for part, item in zip(node.by_position, value, strict=False):
            yield part, item
        for item in value:
            for part in node.per_item:
                yield part, item


def _own_weight(node: Node) -> tuple[int, int, int]:
    own = 1 + len(node.schema)
    for word in ("enum", "const", "required", "dependentRequired", "dependencies"):
        if word in node.schema:
            own += _count(node.schema[word], id, _below, _size, {})
    weights = {one: weight_of(one, wide=4, large=8) for one in node.patterns}
    fancy = (weight for one, weight in weights.items() if _FANCY.search(one))
    return own, sum(weights.values()), sum(fancy)


def _repeats(token: str) -> int:
    bounds = [int(bound[:9]) for bound in token[1:-1].split(",") if bound]
    return min(_MOST_REPEATS, max([1, *bounds]))


def _weight_of_atom(token: str, wide: int, large: int) -> int:
    is_wide = token == "." or token.startswith("[^") or token in (r"\W", r"\D", r"\S")
    is_wide = is_wide or (token[0] == "[" and bool(_WIDE_PART.search(token)))
    return 1 + len(_LARGE_PART.findall(token)) * large + is_wide * wide


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _size(value: Any, below: Iterable[int]) -> int:
    """The number of values in and below one, long texts by their length."""
    return 1 + sum(below) + (len(value) // 16 if isinstance(value, str) else 0)
