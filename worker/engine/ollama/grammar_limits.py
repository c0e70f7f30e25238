"""The list of what Ollama cannot make of a JSON Schema (grammar_limits.toml), by version."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """The rules that hold for one version of Ollama, by name."""

    rules: Mapping[str, Mapping[str, Any]]

    def __contains__(self, name: str) -> bool:
        return name in self.rules

    def most(self, name: str) -> float:
        """The largest number that a rule allows; infinite where the rule does not hold."""
        return self.rules[name]["most"] if name in self.rules else float("inf")

    @property
    def times_the_schema(self) -> float:
        """How many times the bytes of its schema a grammar may take."""
        return float(self.rules["grammar_size"]["times_the_schema"])

    def characters(self, name: str, which: str) -> str:
        """The characters that a rule which holds allows."""
        return str(self.rules[name][which])


@cache
def grammar_limits(version: str | None) -> GrammarLimits:
    """What holds for a version such as "0.24.0"; for one that is not known, all of it."""
    number = _number(version)
    rules = all_rules()
    return GrammarLimits(
        {
            name: rule
            for name, rule in rules.items()
            if number is None or "below" not in rule or number < _known(rule["below"])
        }
    )


@cache
def all_rules() -> dict[str, dict[str, Any]]:
    """The whole list."""
    return tomllib.loads(FILE.read_text())


def _number(version: str | None) -> tuple[int, int] | None:
    """The first two numbers of a version; None where it has none, as 0.0.0 of an own build."""
    found = re.match(r"v?(\d+)\.(\d+)", version or "")
    if found is None or (int(found[1]), int(found[2])) == (0, 0):
        return None
    return int(found[1]), int(found[2])


def _known(version: str) -> tuple[int, int]:
    number = _number(version)
    assert number is not None, version
    return number
