"""The headers of the Lua scripts are true: they are what scripts are put together by."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from local_llm_service.worker import store
from local_llm_service.worker.store.keys import DEFAULT_PREFIX, Keys
from local_llm_service.worker.store.scripts import (
    DIRECTORY,
    script_text,
    shared_functions,
    uses,
)

MOST_LINES = 120
SCRIPTS = {file.stem: file.read_text() for file in DIRECTORY.glob("*.lua")}
FILES = sorted(DIRECTORY.parent.glob("[a-z]*.py"))
SHARED = shared_functions()
EVERYTHING = {**SCRIPTS, **SHARED}
KNOWN = {*Keys().constants(), *SHARED}

_COMMENT = re.compile(r"--[^\n]*")
_STRING = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_ARGUMENT = re.compile(r"ARGV\[(\d+)(?:\.\.)?\]|unpack\(ARGV, (\d+)\)")
#: Documented as a list of triples, which `unpack` could not hold.
_READ_IN_A_LOOP = {"renew", "look"}

each_script = pytest.mark.parametrize("name", sorted(SCRIPTS))


def code_of(text: str) -> str:
    """Lua without strings and comments."""
    return _COMMENT.sub("", _STRING.sub("''", text))


def words_of(text: str) -> set[str]:
    """What a piece of code refers to. A field (`job.read`) is not a reference."""
    code = re.sub(r"(?<!\.)\.[A-Za-z_]\w*|\blocal function \w+", "", code_of(text))
    return set(re.findall(r"[A-Za-z_]\w*", code))


def header_of(text: str) -> list[str]:
    """The comment at the top."""
    lines = text.splitlines()
    return lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_a_header_declares_what_its_code_uses_and_nothing_else(name: str) -> None:
    """What is not declared would be nil in Redis; what is declared in vain costs time at each call.

    A script may bear the name of a shared function: `detach` uses `detach`.
    """
    text = EVERYTHING[name]
    declared = uses(text)
    assert len(declared) == len(set(declared)), "declared twice"
    assert set(declared) == words_of(text) & KNOWN


@pytest.mark.parametrize("text", ["-- uses: read\nread()", "x = job.read", "-- read", "x = 'read'"])
def test_only_references_count(text: str) -> None:
    """The test above sees code, not comments, strings and fields."""
    assert (words_of(text) & KNOWN == {"read"}) == text.endswith("read()")


@each_script
def test_a_header_stands_at_the_top_and_says_what_comes_back(name: str) -> None:
    """One sentence about what the script does, its arguments, what it returns, what it uses."""
    header = header_of(SCRIPTS[name])
    assert header[0].startswith("-- ")
    assert any(line.startswith("-- Returns ") for line in header)
    assert uses("\n".join(header)) == uses(SCRIPTS[name])


@each_script
def test_every_argument_is_documented_and_has_a_name(name: str) -> None:
    """Each is bound to a local before the script calls Redis, and is not counted out again."""
    text = SCRIPTS[name]
    header = "\n".join(header_of(text))
    code = _COMMENT.sub("", text)
    documented = {int(number) for number, _ in _ARGUMENT.findall(header)}
    read = [int(one or rest) for one, rest in _ARGUMENT.findall(code)]
    if name in _READ_IN_A_LOOP:
        assert documented == {1}
        return
    assert sorted(read) == sorted(documented) == list(range(1, len(documented) + 1))
    assert "ARGV" not in code.partition("redis.call")[2]


@each_script
def test_a_method_bears_the_name_of_its_script(name: str) -> None:
    """Who reads a call finds its script, and the other way round."""
    modules = [importlib.import_module(f"{store.__name__}.{file.stem}") for file in FILES]
    places = [one for module in modules for one in (module, *vars(module).values())]
    assert [one for one in places if callable(vars(one).get(name) if _is_place(one) else None)]


def _is_place(value: object) -> bool:
    return inspect.ismodule(value) or inspect.isclass(value)


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_no_field_is_counted_with_a_finger(name: str) -> None:
    """`job.settled`, not `seen[1]`; and keys are known by name, not passed in."""
    code = _ARGUMENT.sub("", code_of(EVERYTHING[name]))
    assert re.findall(r"\w+\[\d+\]", code) == []
    assert "KEYS" not in code


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_function_says_what_it_does(name: str) -> None:
    """In the comment above it; its own name comes first, so that the linker finds it."""
    lines = SHARED[name].strip().splitlines()
    assert lines[0].startswith("-- ")
    assert not lines[0].startswith("-- uses:")
    first_code = next(line for line in lines if not line.startswith("--"))
    assert first_code.startswith(f"local function {name}(")
    assert lines[-1] == "end"


def test_every_shared_function_is_used() -> None:
    """By a script, be it through another function."""
    assert {word for text in EVERYTHING.values() for word in uses(text)} >= set(SHARED)


def test_a_paragraph_holds_one_shared_function() -> None:
    """A second one would come along unasked, or not at all."""
    files = "\n".join(file.read_text() for file in (DIRECTORY / "shared").glob("*.lua"))
    names = re.findall(r"^local function (\w+)", files, re.M)
    assert sorted(names) == sorted(SHARED)
    assert all(text.count("\nlocal function ") == 1 for text in SHARED.values())


@pytest.mark.parametrize("file", sorted(DIRECTORY.rglob("*.lua")), ids=lambda file: file.name)
def test_files_are_short(file: Path) -> None:
    """A script is read at one go."""
    lines = file.read_text().splitlines()
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > 100] == []


@each_script
def test_a_script_is_linked_with_what_it_uses_and_nothing_else(name: str) -> None:
    """Each word is defined once, before it is used; what no function asked for is not there."""
    text = script_text(name, DEFAULT_PREFIX)
    linked = text.removesuffix(SCRIPTS[name])
    defined = re.findall(r"^local (?:function )?(\w+)", linked, re.M)
    assert len(defined) == len(set(defined))
    wanted, asked = set(), uses(SCRIPTS[name])
    while asked:
        word = asked.pop()
        if word not in wanted:
            wanted.add(word)
            asked += uses(SHARED.get(word, ""))
    assert set(defined) == wanted
    for word in wanted & set(SHARED):
        assert all(defined.index(used) < defined.index(word) for used in uses(SHARED[word]))


def test_scripts_know_the_keys_under_their_prefix() -> None:
    """Two services on one Redis have two sets of scripts."""
    assert f"local JOB_RECORD = '{DEFAULT_PREFIX}job:'" in script_text("put", DEFAULT_PREFIX)
    assert "local JOB_RECORD = '{other}:job:'" in script_text("put", "{other}:")
