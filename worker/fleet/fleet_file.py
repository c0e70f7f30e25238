"""Reads ENGINES_FILE: TOML or JSON, checked as a whole before a worker starts.

Each problem is named with its place in the file and without its value, which may be a key. What an
entry may hold stands here; what entries must agree on, in `file_rules.py`.
"""

from __future__ import annotations

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from local_llm_service.worker.addresses import check_ollama_host
from local_llm_service.worker.errors import InvalidSetting

HINT = "Correct the file; docs/engines.md has a complete one."

MOST_BYTES = 1_048_576

#: Nothing that hides in a log or in a list of models.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f]+$")]
Slots = Annotated[int, Field(ge=1, le=256)]
#: A file's numbers arrive as int or Decimal, so that 0.15 is just that.
Usd = Annotated[Decimal, Field(strict=False, ge=0, le=1_000_000, decimal_places=6)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


def _refused(_: object) -> None:
    raise ValueError(
        "a key has no place in this file: name a variable in api_key_env, or a file in api_key_file"
    )


class _Entry(BaseModel):
    """A table of the file: no type is guessed, and no unknown word is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ModelEntry(_Entry):
    """One `[[engines.models]]`."""

    name: Name
    aliases: list[Name] = []
    slots: Slots | None = None
    context_tokens: int | None = Field(default=None, ge=256, le=100_000_000)
    revision: str | None = Field(default=None, min_length=1, max_length=200)
    price: str | None = None
    prompt_usd: Usd | None = None
    completion_usd: Usd | None = None


class EngineEntry(_Entry):
    """One `[[engines]]`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")
    kind: Literal["ollama", "openai_compatible"]
    url: str
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    api_key_file: str | None = Field(default=None, min_length=1)
    api_key: Annotated[None, BeforeValidator(_refused)] = None
    slots: Slots | None = None
    model_slots: dict[str, int] = {}
    leaves_the_house: bool | None = None
    models: list[ModelEntry] = []

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str, info: ValidationInfo) -> str:
        has_scheme = re.match(r"https?://", url, re.IGNORECASE)
        if info.data.get("kind") == "openai_compatible" and not has_scheme:
            raise ValueError("must be a URL, for example https://api.openai.com/v1")
        found = check_ollama_host(url).rstrip("/")
        if "?" in found or "#" in found:
            raise ValueError("must end with its path")
        if found.lower().endswith(("/completions", "/models", "/embeddings")):
            raise ValueError("must be what stands before /chat/completions")
        if info.data.get("kind") == "ollama" and found.endswith(("/v1", "/api")):
            raise ValueError("must be the address of the Ollama alone, without a path")
        return found

    @field_validator("model_slots", mode="before")
    @classmethod
    def _short_form(cls, given: object) -> dict[str, int]:
        if not isinstance(given, str):
            raise ValueError('must be text such as "llama3.1:8b=1, phi3:mini=2"')
        found: dict[str, int] = {}
        for part in given.split(","):
            name, _, slots = part.strip().rpartition("=")
            if not name.strip() or not re.fullmatch(r"\s*[1-9]\d{0,2}", slots):
                raise ValueError('must be MODEL=SLOTS, separated by commas: "llama3.1:8b=1"')
            if name.strip() in found:
                raise ValueError("names a model twice")
            found[name.strip()] = int(slots)
        return found


class RouteEntry(_Entry):
    """One `[[routes]]`."""

    name: Name
    local: Name
    remote: Name | None = None
    complex_from: Annotated[Number, Field(ge=0, le=1)] | None = None
    cascade: bool = True
    min_mean_logprob: Annotated[Number, Field(le=0)] | None = None

    @model_validator(mode="after")
    def _has_where_to_go(self) -> RouteEntry:
        if self.remote is None and (self.complex_from, self.min_mean_logprob) != (None, None):
            raise ValueError("complex_from and min_mean_logprob need a remote model")
        return self


class FileEntries(_Entry):
    """The whole file."""

    engines: list[EngineEntry] = Field(min_length=1, max_length=64)
    routes: list[RouteEntry] = Field(default=[], max_length=64)
    local_scopes: list[Annotated[str, Field(min_length=1)]] = []


def read_entries(path: str) -> FileEntries:
    """What a file says. Raises InvalidSetting."""
    data = _parsed(path)
    try:
        return FileEntries.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        problems = [
            f"{place_of(*one['loc'])}: {_text(one['msg'], str(one['type']))}" for one in found
        ]
    # Outside of `except`: pydantic's error holds what was given.
    raise wrong(path, problems)


def wrong(path: str, problems: list[str]) -> InvalidSetting:
    """The error of a file with these problems, each `place: what is wrong`."""
    return InvalidSetting(f"ENGINES_FILE {path}: {'; '.join(problems)}", HINT)


def place_of(*parts: object) -> str:
    """Where something stands: `engines[1].models[0].slots`."""
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part not in ("[key]",):
            # A word of the file's own: it may be anything that somebody pasted, a key as well.
            word = str(part) if re.fullmatch(r"[A-Za-z_]{1,24}", str(part)) else "?"
            place += f".{word}" if place else word
    return place or "the file"


def _text(message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such word here"
    if kind == "string_pattern_mismatch":
        return "has characters that are not allowed here, or is empty"
    return message.removeprefix("Value error, ")


def _parsed(path: str) -> Any:
    suffix = Path(path).suffix.lower()
    if suffix not in (".toml", ".json"):
        raise wrong(path, ["the file: its name must end in .toml or .json"])
    text = read_text(path, "the file")
    try:
        if suffix == ".json":
            return json.loads(
                text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_once
            )
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line \d+, column \d+|at end of document", str(error))
        where = f" ({found[0]})" if found else ""
    except json.JSONDecodeError as error:
        where = f" (at line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError):
        where = " (NaN, Infinity, or one word twice in an object)"
    raise wrong(path, [f"the file: cannot be read as {suffix[1:].upper()}{where}"])


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose words stand there once, as TOML has it: the last would count, unseen."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a word stands there twice")
    return found


def read_text(path: str, place: str, *, named_in: str | None = None) -> str:
    """A small UTF-8 file's text. Raises InvalidSetting, which names the place that names it."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError
        return content.decode("utf-8-sig")
    except OSError as error:
        why = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        why = "is not UTF-8 text"
    except ValueError:
        why = "is larger than 1 MiB"
    raise wrong(named_in or path, [f"{place}: {why}"])
