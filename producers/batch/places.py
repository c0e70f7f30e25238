"""Which files a batch writes, and that none of them is one that it reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_llm_service.worker.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Places:
    """`output` None: answers go to a database only; "-": to stdout, and then there is neither a
    ledger ("") nor a file of errors."""

    output: str | None
    ledger: str
    errors: str | None


def places_of(output: str | None, ledger: str | None, *, writes_sql: bool) -> Places:
    """The files beside an output, or beside a ledger alone. Raises InvalidRequest."""
    if output == "-":
        if writes_sql or ledger:
            raise InvalidRequest(
                "-o -: keeps no ledger, so it goes with neither --write-sql nor --ledger"
            )
        return Places("-", "", None)
    if output is None:
        if not (writes_sql and ledger):
            raise InvalidRequest(
                "give -o OUTPUT; with --write-sql, --ledger FILE will do",
                "For example -o answers.jsonl, or -o - for stdout.",
            )
        return Places(None, ledger, _errors_of(ledger.removesuffix(".ledger")))
    if output.endswith((".gz", ".bz2", ".xz", ".zst")):
        raise InvalidRequest(
            f"{output}: the output is not compressed", "Give a name that ends with .jsonl."
        )
    for path in filter(None, (output, ledger)):
        if not Path(path).absolute().parent.is_dir():
            raise InvalidRequest(f"{path}: there is no such folder", "Make it, or give another.")
    return Places(output, ledger or f"{output}.ledger", _errors_of(output))


def refuse_overwriting(inputs: Sequence[str], places: Places) -> None:
    """Raise InvalidRequest where the batch would write over what it reads."""
    written = [one for one in (places.output, places.ledger, places.errors) if one and one != "-"]
    for path in inputs:
        if path != "-" and any(_is_same(path, other) for other in written):
            raise InvalidRequest(f"{path}: is input and output", "Give another output.")


def _errors_of(output: str) -> str:
    """`X.jsonl` has its errors in `X.errors.jsonl`."""
    path = Path(output)
    base = path.with_suffix("") if path.suffix in (".jsonl", ".json", ".ndjson") else path
    return f"{base}.errors.jsonl"


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False
