"""What an engine says of its server."""

from __future__ import annotations

from local_llm_service.worker.engine import Engine
from tests.conformance.calls import ask
from tests.conformance.subject import Subject


def test_the_models_are_told(subject: Subject, engine: Engine) -> None:
    """By the names that a prompt may use; a digest where the server promises one."""
    models = {model.name: model for model in engine.models()}
    assert subject.model in models
    assert ask(engine, subject).text
    digests = [model.digest for model in models.values()]
    assert all(digests) if engine.capabilities.digests else not any(digests)


def test_a_digest_stays_the_same(subject: Subject, engine: Engine) -> None:
    """Answers are cached under it."""
    first, second = ({model.name: model.digest for model in engine.models()} for _ in range(2))
    assert first == second


def test_the_version_is_told(subject: Subject, engine: Engine) -> None:
    """A text without line breaks, as it stands in `health`; a server without one is named."""
    version = engine.version()
    assert version == version.strip() != ""
    assert "\n" not in version


def test_the_context_is_told(subject: Subject, engine: Engine) -> None:
    """It is what a prompt and its answer have room in, and not more than NUM_CTX."""
    tokens = engine.context_tokens(subject.model)
    assert 100 < tokens <= 4096


def test_notes_are_sentences(subject: Subject, engine: Engine) -> None:
    """For an operator; a server that was asked once has nothing to hide."""
    engine.version()
    engine.models()
    for note in engine.notes():
        assert len(note.split()) > 3


def test_nothing_is_occupied_at_rest(subject: Subject, engine: Engine) -> None:
    """Slots are full or free with the calls that run."""
    assert engine.occupied == 0
    ask(engine, subject)
    assert engine.occupied == 0
