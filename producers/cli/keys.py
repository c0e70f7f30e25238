"""`keys`: who may call over HTTP. A key's text is shown once; only a hash of its secret is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from local_llm_service.producers.cli.key_words import (
    NAME,
    RATE,
    TIME,
    described,
    line_of,
    now_ms,
)
from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.producers.cli.reading import SECONDS
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.callers.key_store import KeyStore, key_store
from local_llm_service.worker.errors import InvalidRequest, NotFound
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.api_keys import ApiKey, Rate, id_of
from local_llm_service.worker.store.keys import PRIORITIES

#: Makes a key's record of the one that is there ("": none) and of all.
Change = Callable[[str, Mapping[str, str]], ApiKey | None]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILE = click.option(
    "--file", "path", metavar="FILE",
    help="The keys in FILE, not those in Redis; default: API_KEYS_FILE.",
)  # fmt: skip
#: Somebody else changes the same key, again and again.
_TRIES = 10


@click.group()
def keys() -> None:
    """API keys: who may call over HTTP, and how much."""


@keys.command()
@click.argument("name", type=NAME)
@click.option("--tenant", type=NAME, help="Whose jobs and cached answers; default: NAME.")
@click.option(
    "--ceiling", type=click.Choice(PRIORITIES), default="high", show_default=True,
    help="The most urgent queue that it may use.",
)  # fmt: skip
@click.option("--rate", type=RATE, help="Requests, as 60/m; default: no bound.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Jobs at once.")
@click.option("--streams", type=click.IntRange(1, 100_000), help="Open streams at once.")
@click.option("--expires", type=TIME, help="When: 90d from now, or 2027-01-31.")
@click.option("--keep-local", is_flag=True, help="No word of its jobs leaves your own hardware.")
@_FILE
@_JSON
def add(
    name: str,
    tenant: str | None,
    ceiling: Any,
    rate: Rate | None,
    concurrency: int | None,
    streams: int | None,
    expires: int | None,
    keep_local: bool,
    path: str | None,
    as_json: bool,
) -> Exit:
    """Make the key NAME and print its text, once."""
    made = ApiKey(
        name=name, tenant=tenant or name, ceiling=ceiling, rate=rate,
        concurrency=concurrency or 0, streams=streams or 0,
        created_ms=now_ms(), expires_ms=expires, keep_local=keep_local,
    )  # fmt: skip
    made, text = made.with_new_secret(now_ms())

    def placed(before: str, records: Mapping[str, str]) -> ApiKey:
        _check_tenant(made.tenant, records)
        there = ApiKey.of(before)
        if before and not (there and there.name == name and there.is_revoked):
            raise InvalidRequest(
                "NAME: there is a key of this name",
                "Use another name, `keys rotate` for a new secret, or `keys revoke` it first.",
            )
        return made

    _change(path, name, placed)
    return _show_text(made, text, as_json)


@keys.command("list")
@_FILE
@_JSON
def list_(path: str | None, as_json: bool) -> Exit:
    """List all keys, without their secrets."""
    records = _store(path).records().values()
    found = sorted(filter(None, map(ApiKey.of, records)), key=lambda key: key.name)
    if as_json:
        show_json([described(key) for key in found])
    for key in () if as_json else found:
        say(line_of(key))
    if len(found) < len(records):
        note(f"{len(records) - len(found)} more cannot be read, and open nothing")
    return Exit.ANSWER


@keys.command()
@click.argument("name", type=NAME)
@_FILE
@_JSON
def revoke(name: str, path: str | None, as_json: bool) -> Exit:
    """Let the key NAME open nothing any more, from now on."""

    def revoked(before: str, _: Mapping[str, str]) -> ApiKey:
        return _there(before).model_copy(update={"secrets": []})

    _change(path, name, revoked)
    show_json({"revoked": name}) if as_json else note("revoked")
    return Exit.ANSWER


@keys.command()
@click.argument("name", type=NAME)
@click.option(
    "--grace", type=SECONDS, default=0.0, show_default=True,
    help="Seconds in which the old secret holds, too.",
)  # fmt: skip
@_FILE
@_JSON
def rotate(name: str, grace: float, path: str | None, as_json: bool) -> Exit:
    """Give the key NAME a new secret and print its text, once."""
    text = ""

    def rotated(before: str, _: Mapping[str, str]) -> ApiKey:
        nonlocal text
        key = _there(before)
        if key.is_revoked:
            raise InvalidRequest("NAME: this key has been revoked", "Make it again: `keys add`.")
        key, text = key.with_new_secret(now_ms(), min(grace, 366 * 86_400))
        return key

    key = _change(path, name, rotated)
    return _show_text(key, text, as_json)


@keys.command()
@click.argument("name", type=NAME)
@_FILE
@_JSON
def drop(name: str, path: str | None, as_json: bool) -> Exit:
    """Forget the revoked key NAME. With no key left, HTTP on loopback serves anybody again, once
    it has been restarted."""

    def dropped(before: str, _: Mapping[str, str]) -> None:
        key = ApiKey.of(before)
        if not before:
            raise _no_key()
        if key is not None and not key.is_revoked:
            raise InvalidRequest("NAME: this key still holds", "Revoke it first: `keys revoke`.")

    _change(path, name, dropped)
    show_json({"dropped": name}) if as_json else note("dropped")
    return Exit.ANSWER


def _store(path: str | None) -> KeyStore:
    return key_store(path or get_settings().api_keys_file)


def _change(path: str | None, name: str, change: Change) -> Any:
    """Replace one key's record, and try again where another process was faster.

    Returns what `change` made. Raises what that raises.
    """
    store, key_id = _store(path), id_of(name)
    for _ in range(_TRIES):
        records = store.records()
        before = records.get(key_id, "")
        key = change(before, records)
        try:
            if store.write(key_id, before, "" if key is None else key.as_text()):
                return key
        except OSError as error:
            raise InvalidRequest(
                f"--file: cannot be written ({error.strerror})", "Give a file that can be."
            ) from None
    raise InvalidRequest("NAME: its key is being changed elsewhere", "Try it again.")


def _there(record: str) -> ApiKey:
    key = ApiKey.of(record)
    if key is None:
        raise _no_key()
    return key


def _check_tenant(tenant: str, records: Mapping[str, str]) -> None:
    """Raise InvalidRequest for a name whose ids another tenant would take for its own."""
    tenants = {key.tenant for key in map(ApiKey.of, records.values()) if key is not None}
    tags = {Caller(other).tag for other in tenants - {tenant}}
    if Caller(tenant).tag in tags:
        raise InvalidRequest("--tenant: is too like another tenant's", "Choose another name.")


def _show_text(key: ApiKey, text: str, as_json: bool) -> Exit:
    if as_json:
        show_json({"key": text, **described(key)})
        return Exit.ANSWER
    say(text)
    note("This is the only time that the key is shown.")
    return Exit.ANSWER


def _no_key() -> NotFound:
    return NotFound("there is no key of this name", "See `local-llm keys list`.")
