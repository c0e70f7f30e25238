"""API keys for tests: made as an operator does."""

from __future__ import annotations

from click.testing import CliRunner

from local_llm_service.producers.cli.keys import keys


def operate(*words: str) -> str:
    """Run a command of `local-llm keys`; what it prints on stdout. Fails where it fails."""
    done = CliRunner().invoke(keys, words, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout.strip()


def add_key(name: str, *words: str) -> dict[str, str]:
    """Make a key; the headers that send it."""
    return bearer(operate("add", name, *words))


def bearer(text: str) -> dict[str, str]:
    """The header that sends a key."""
    return {"Authorization": f"Bearer {text}"}
