"""All subjects, by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tests.conformance.ollama_subject import ScriptedOllama
from tests.conformance.real_subjects import EmbeddedOllama, LlamaV1
from tests.conformance.subject import Scripted, Subject
from tests.conformance.v1_subjects import ScriptedOpenAi, ScriptedV1, WithinAFleet

SCRIPTED: dict[str, type[Scripted]] = {
    one.name: one for one in (ScriptedOllama, ScriptedV1, ScriptedOpenAi, WithinAFleet)
}
REAL: dict[str, Callable[[ExitStack], Subject]] = {
    one.name: one for one in (EmbeddedOllama, LlamaV1)
}
