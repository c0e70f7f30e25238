"""What went wrong has one class, whatever the server calls it."""

from __future__ import annotations

import pytest

from local_llm_service.worker.engine import Engine, EngineDied
from local_llm_service.worker.errors import (
    ContextOverflow,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.prompt import ToEmbed
from tests.conformance.calls import SOON, ask, prompt
from tests.conformance.subject import Fault, Scene, Scripted, Subject

#: The class of each fault, before any text has come.
FAULTS: dict[Fault, tuple[type[ServiceError], ...]] = {
    "busy": (OllamaBusy,),
    "failed": (ModelFailed,),
    # Whether it is no model's or only half of one nobody can tell.
    "garbage": (ModelFailed, StreamBroken),
    "missing": (ModelMissing,),
    "not_a_model_server": (ModelFailed,),
    "too_long": (ContextOverflow,),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_its_class(scripted: Scripted, engine: Engine, fault: Fault) -> None:
    """It says what to do, and its sink has heard nothing; the engine goes on with the next."""
    scripted.play(Scene(fault=fault))
    heard: list[str] = []
    with pytest.raises(FAULTS[fault]) as failure:
        ask(engine, scripted, on_text=heard.append)
    assert type(failure.value) in FAULTS[fault]
    assert failure.value.message
    assert failure.value.hint
    assert heard == []
    scripted.play(Scene())
    assert ask(engine, scripted).text == "".join(Scene().pieces)


@pytest.mark.parametrize("fault", ["busy", "failed", "missing", "too_long"])
def test_vectors_have_the_same_classes(scripted: Scripted, engine: Engine, fault: Fault) -> None:
    """A text to embed fails as a prompt does."""
    assert scripted.embeds is not None
    scripted.play(Scene(fault=fault))
    with pytest.raises(FAULTS[fault]):
        engine.embed(ToEmbed(("a",)), model=scripted.embeds, remaining_seconds=SOON)


def test_a_server_that_is_away_is_told_by_every_call(scripted: Scripted, engine: Engine) -> None:
    """All of them raise the class that the breaker looks for, and all work once it is back."""
    assert ask(engine, scripted).text  # a connection stands
    scripted.stop()
    try:
        for call in (
            engine.version,
            engine.models,
            lambda: ask(engine, scripted),
            lambda: engine.embed(ToEmbed(("a",)), model=scripted.model, remaining_seconds=SOON),
        ):
            with pytest.raises(OllamaUnreachable) as failure:
                call()
            assert failure.value.retryable
    finally:
        scripted.start()
    assert ask(engine, scripted).text
    assert engine.models()


def test_a_server_that_dies_midway_is_known_as_dead(scripted: Scripted, engine: Engine) -> None:
    """A worker finds out by it which prompt kills servers (tasks/engine_death.py)."""
    scripted.play(Scene(end="cut"))
    with pytest.raises(EngineDied):
        ask(engine, scripted)


def test_a_model_that_is_not_there(subject: Subject, engine: Engine) -> None:
    """It is in no list of models; a server that looks at the name refuses the prompt."""
    assert subject.other not in {model.name for model in engine.models()}
    if not subject.checks_models:
        return
    with pytest.raises(ModelMissing):
        engine.complete(prompt(), model=subject.other, remaining_seconds=SOON)


def test_a_prompt_that_is_too_long_is_refused(subject: Subject, engine: Engine) -> None:
    """Where the server promises it, and here all do it; each says so in words of its own."""
    long = prompt("word " * 3000)
    with pytest.raises(ContextOverflow):
        ask(engine, subject, long)
