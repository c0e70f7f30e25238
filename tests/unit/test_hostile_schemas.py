"""Schemas that hang a careless validator: counted before anything is built, judged elsewhere."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.tasks import json_schema, schema_verdict, schema_work
from local_llm_service.tasks.bounded import bounded_by, run_bounded
from local_llm_service.tasks.json_answers.reading import read_instance
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.schema_graph import SchemaGraph
from local_llm_service.tasks.structured_output import StructuredRequest
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidOutput,
    InvalidRequest,
    ServiceError,
)
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Completion
from local_llm_service.worker.store.outcomes import Delivery
from tests.doubles.hostile_schemas import BOMBS, PATTERNS, chain, doubled, doubled_below, nested

LIMITS = Limits(
    max_prompt_chars=400_000, max_messages=1, max_schema_depth=64, max_output_tokens=100
)
SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def admit(schema: Any) -> None:
    """The check in the caller. Raises InvalidRequest."""
    parse(StructuredRequest, ["p"], {"schema": schema}, LIMITS)


def read(schema: Any, instance: Any) -> Any:
    """Read an answer of the model."""
    return read_instance(Completion(json.dumps(instance), "m", "stop", 1, 1, 0, 0, 0), schema)


def admit_and_read(schema: Any, instance: Any) -> Any:
    """The whole way of a schema."""
    admit(schema)
    return read(schema, instance)


def is_admitted(schema: Any) -> bool:
    """Whether the caller may send it."""
    try:
        admit(schema)
    except InvalidRequest:
        return False
    return True


def graph(schema: Any) -> SchemaGraph:
    """The graph of a schema with its references followed."""
    made = SchemaGraph(json.loads(json.dumps(schema)), legacy=False, most=10_000)
    made.resolve()
    return made


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that a process of its own was asked, each answered "valid"."""
    asked: list[str] = []

    def answer(_: Any, text: str) -> tuple[int, str]:
        asked.append(text)
        return 0, "valid\n"

    monkeypatch.setattr(json_schema, "run_bounded", answer)
    return asked


def test_there_are_fifty_patterns() -> None:
    """The tests over them must not pass because they are missing."""
    assert len({pattern for pattern, _ in PATTERNS}) == 50


@pytest.mark.parametrize(("pattern", "text"), PATTERNS, ids=range(len(PATTERNS)))
def test_a_hostile_pattern_is_refused_or_judged(pattern: str, text: str) -> None:
    """With `re`, most of these would never come back."""
    with pytest.raises((InvalidRequest, InvalidOutput), match="pattern"):
        admit_and_read({"pattern": pattern}, text)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_what_it_costs_here_is_bounded(
    name: str, elsewhere: list[str]
) -> None:
    """Nothing is built or evaluated in this process that counts as more than 5 ms."""
    schema, instance = BOMBS[name]
    with contextlib.suppress(InvalidRequest):
        assert admit_and_read(schema, instance) == instance
    if not is_admitted(schema):
        return
    made = graph(schema)
    units = schema_work.evaluating(made, instance, most_steps=10**7) + schema_work.building(made)
    bounds = (json_schema.UNITS_HERE, json_schema.UNITS_AT_ALL)
    assert elsewhere or not bounds[0] < units <= bounds[1]


def test_250_references_are_admitted_and_followed() -> None:
    """They took 34 s in the caller, as each target was checked as a whole again."""
    admit(chain(250))
    assert read(chain(250), "x") == "x"
    with pytest.raises(InvalidOutput, match="'type'"):
        read(chain(250), 5)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (chain(300), chain(2400)),
        ({"enum": [*range(300)]}, {"enum": [*range(2400)]}),
        (
            {"properties": {f"p{n}": {"pattern": f"^{n}x"} for n in range(300)}},
            {"properties": {f"p{n}": {"pattern": f"^{n}x"} for n in range(2400)}},
        ),
        (
            {"x": [{"$ref": f"#/x/{n + 1}"} for n in range(300)] + [{}], "$ref": "#/x/0"},
            {"x": [{"$ref": f"#/x/{n + 1}"} for n in range(2400)] + [{}], "$ref": "#/x/0"},
        ),
    ],
    ids=["references", "constants", "patterns", "hidden"],
)
def test_the_check_is_linear(small: Any, large: Any) -> None:
    """Eight times the schema makes at most nine times the calls of Python functions."""
    assert calls(large) < 9 * calls(small)


def calls(schema: Any) -> int:
    """How many functions the check calls."""
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    admit(schema)  # imports are not counted
    sys.setprofile(count)
    try:
        admit(schema)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (doubled(28), "too large with its references followed"),
        ({"allOf": [{"$ref": "#"}]}, "never ends"),
        ({"if": {"$ref": "#/$defs/a"}, "$defs": {"a": {"not": {"$ref": "#"}}}}, "never ends"),
        ({"anyOf": [{}] * 5001}, "more than 5000 subschemas"),
        ({"title": "a" * 100_000}, "at most 100000 characters"),
        ({"pattern": "a" * 10_001}, "a pattern of more than 10000 characters"),
        ({"pattern": "(?:a{1000}){1000}"}, "too large with their repeats written out"),
        ({"pattern": "[^a]{9999}"}, "a pattern is wrong or huge"),
        ({"$id": "http://x/" + "a" * 1000}, "$id of more than 1000 characters"),
        (BOMBS["1500 dynamic references"][0], "too many dynamic references"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "draft 3"),
    ],
)
def test_a_refusal_says_which_bound(schema: Any, reason: str) -> None:
    """Early, in the caller, and as one line."""
    with pytest.raises(InvalidRequest) as refused:
        admit(schema)
    assert reason in refused.value.message


def test_shared_python_objects_are_refused_by_their_size() -> None:
    """A caller's own objects can be doubled, too; written as JSON they would fill the memory."""
    schema: Any = {"type": "string"}
    for _ in range(60):
        schema = {"allOf": [schema, schema]}
    with pytest.raises(InvalidRequest, match="MAX_PROMPT_CHARS"):
        admit(schema)


def test_the_count_follows_the_instance() -> None:
    """What a value does not reach costs nothing, and what is reached twice counts twice."""
    schema = doubled_below(20)
    few = schema_work.evaluating(graph(schema), nested(3), most_steps=10_000)
    many = schema_work.evaluating(graph(schema), nested(13), most_steps=10_000)
    assert few < 200
    assert 2**13 < many < 2**13 * 10


def test_counting_ends_too() -> None:
    """Where even counting takes long, the count is unknown: such work is done elsewhere."""
    schema = {"patternProperties": {f"^{n}": {} for n in range(2000)}}
    units = schema_work.evaluating(graph(schema), dict.fromkeys(map(str, range(500))), most_steps=9)
    assert units == schema_work.CEILING


@pytest.mark.parametrize(
    ("pattern", "weight"),
    [("abc", 3), ("a{10}", 10), ("(?:ab){3}", 12), ("[a-z]{5}", 5), (r"\[{2}", 2), ("(", 0)],
)
def test_a_pattern_weighs_what_it_is_written_out(pattern: str, weight: int) -> None:
    """Roughly: groups and signs may add one each."""
    assert weight <= schema_work.weight_of(pattern) <= weight + 12


@pytest.mark.parametrize(
    "schema",
    [
        {"format": "email"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "format": "email"},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "contentMediaType": "application/json",
            "contentEncoding": "base64",
        },
    ],
)
def test_words_that_only_describe_demand_nothing(schema: Any) -> None:
    """In all drafts, as before."""
    assert read(schema, "{ not an address") == "{ not an address"


@pytest.mark.parametrize(
    "text",
    ['```json\n{"a": 1}\n```', '```\n{"a": 1}```', '  ```json{"a": 1}```  ', '{"a": 1}'],
)
def test_a_fence_is_taken_off(text: str) -> None:
    """Models like to write Markdown."""
    assert read_instance(Completion(text, "m", "stop", 1, 1, 0, 0, 0), True) == {"a": 1}


def test_a_fence_takes_no_longer_for_a_long_text() -> None:
    """16 kB of spaces took a regular expression 3 s; no expression is used."""
    assert not hasattr(json_schema, "re")
    for text in ("```json" + " " * 10**6, "```" + "\n" * 10**6 + "x", "`" * 10**6, "`" * 5):
        with pytest.raises(InvalidOutput, match="not JSON"):
            read_instance(Completion(text, "m", "stop", 1, 1, 0, 0, 0), True)


# --- in a process of its own ----------------------------------------------------------------------


@pytest.fixture
def _only_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough for this process."""
    monkeypatch.setattr(json_schema, "UNITS_HERE", -1)


@pytest.mark.usefixtures("_only_elsewhere")
def test_the_verdict_of_another_process_is_the_same() -> None:
    """Valid, and invalid with the keyword."""
    schema = {"type": "object", "properties": {"a": {"minLength": 3, "type": "string"}}}
    assert read(schema, {"a": "ünï"}) == {"a": "ünï"}
    assert read(schema, {"n": 10**30, "f": 1e300}) == {"n": 10**30, "f": 1e300}
    with pytest.raises(InvalidOutput, match="'minLength'"):
        read(schema, {"a": "x"})


@pytest.mark.usefixtures("_only_elsewhere")
def test_its_cpu_seconds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that was too low costs a bounded time, and the caller learns what to change."""
    monkeypatch.setattr(json_schema, "_CPU_SECONDS", 1)
    monkeypatch.setattr(schema_work, "evaluating", lambda *_, **__: 1)
    with pytest.raises(InvalidRequest, match="too long"):
        read(doubled(40), "x")


def test_what_is_too_much_is_not_even_begun(elsewhere: list[str]) -> None:
    """Two billion evaluations: no process is started for them."""
    with pytest.raises(InvalidRequest, match="too long"):
        read(doubled_below(30), nested(30))
    assert elsewhere == []


def test_a_program_that_fails_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the caller's, and not a success."""
    monkeypatch.setattr(json_schema, "UNITS_HERE", -1)
    monkeypatch.setattr(schema_verdict, "__file__", "/no/such/program")
    with pytest.raises(InternalError):
        read({"type": "string"}, "x")


def in_flight(remaining_seconds: float) -> InFlightDelivery:
    """A delivery with this much time left."""
    return InFlightDelivery(
        Delivery(
            queue="llm.high",
            message="",
            task_id="id",
            tag="tag",
            token="1",
            queued_seconds=0,
            remaining_seconds=remaining_seconds,
            attempts=0,
            crashes=0,
            cancelled=False,
        )
    )


@pytest.mark.parametrize("moment", ["before", "while it runs"])
def test_a_cancel_ends_the_program(moment: str) -> None:
    """Also one that came just before it was started."""
    bounds = in_flight(600)
    reason = Cancelled("the job was cancelled")
    timer = threading.Timer(0.0 if moment == "before" else 0.3, bounds.request_stop, [reason])
    if moment == "before":
        bounds.request_stop(reason)
    else:
        timer.start()
    with bounded_by(bounds), pytest.raises(Cancelled):
        run_bounded(SLEEPS, "")
    timer.cancel()


def test_the_deadline_ends_the_program() -> None:
    """Unless others wait for the same answer: then theirs does."""
    bounds, asked = in_flight(0.2), iter([0.2, 0.0])
    bounds.wanted_seconds = lambda: next(asked)
    with bounded_by(bounds), pytest.raises(DeadlineExceeded):
        run_bounded(SLEEPS, "x" * 10_000_000)  # which it never reads
    assert next(asked, None) is None


def test_the_program_is_gone_afterwards(tmp_path: Path) -> None:
    """Nothing of it stays behind, and the next stop of the job meets no old process."""
    file = tmp_path / "pid"
    code = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    bounds = in_flight(1.0)
    with bounded_by(bounds), pytest.raises(ServiceError):
        run_bounded([sys.executable, "-c", code], "")
    alive = subprocess.run(["kill", "-0", file.read_text()], capture_output=True, check=False)
    assert alive.returncode != 0
    bounds.request_stop(Cancelled("late"))
