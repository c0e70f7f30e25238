"""Reads a JSON body into a shape and refuses it in the words of Go's encoding/json.

Clients match on these words, so they are part of the contract; tests/wire holds the originals.
"""

import json
from typing import Any

from local_llm_service.worker.embedded.ollama_api.wire import ApiError

# Field -> (Python types that fit, Go's name of the type it must have).
Shape = dict[str, tuple[tuple[type, ...], str]]

_GO_NAMES = {str: "string", bool: "bool", list: "array", dict: "object"}


def read_object(body: bytes, go_type: str, shape: Shape) -> dict[str, Any]:
    """Read the object in `body`, without nulls; ApiError 400 for another value or a wrong type."""
    text = body.decode(errors="replace")
    if not text.strip():
        raise ApiError(400, "missing request body")
    try:
        start = len(text) - len(text.lstrip())
        # Go's decoder ignores what follows the value, too.
        value, _ = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise ApiError(400, _syntax_error(text, error)) from None
    except RecursionError:
        raise ApiError(400, "exceeded max depth") from None
    if not isinstance(value, dict):
        raise ApiError(400, _misfit(value, "Go value", f"api.{go_type}"))
    return fields(value, go_type, shape)


def fields(value: dict[str, Any], path: str, shape: Shape) -> dict[str, Any]:
    """Keep the fields of `value` that are not null; ApiError 400 for one of a wrong type."""
    for name, (kinds, go_name) in shape.items():
        given = value.get(name)
        if given is not None and not fits(given, kinds):
            raise ApiError(400, _misfit(given, f"Go struct field {path}.{name}", go_name))
    return {name: given for name, given in value.items() if given is not None}


def fits(value: Any, kinds: tuple[type, ...]) -> bool:
    """Like isinstance, but true and false are not numbers."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _misfit(value: Any, where: str, go_name: str) -> str:
    kind = _GO_NAMES.get(type(value), "number")
    if kind == "number" and go_name == "int":
        kind = f"number {value}"
    return f"json: cannot unmarshal {kind} into {where} of type {go_name}"


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    at = error.pos
    if error.msg.startswith("Illegal trailing comma"):  # Python 3.13 points at the comma
        at = len(text) - len(text[at + 1 :].lstrip())
    if at >= len(text) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    looked_for = {
        "Expecting value": "looking for beginning of value",
        "Expecting property name enclosed in double quotes": "looking for beginning of object "
        "key string",
        "Illegal trailing comma before end of object": "looking for beginning of object key string",
        "Expecting ':' delimiter": "after object key",
        "Expecting ',' delimiter": "after object key:value pair",
    }.get(error.msg, "in string literal")
    return f"invalid character {_quoted(text[at])} {looked_for}"


def _refuse_constant(name: str) -> None:
    """NaN and Infinity, which Python's reader knows and JSON does not."""
    first = name.lstrip("-")[0]
    raise ApiError(400, f"invalid character {_quoted(first)} looking for beginning of value")


def _quoted(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"
