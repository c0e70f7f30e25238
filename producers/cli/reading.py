"""Reads what a command is given: files, stdin, words on the command line, seconds."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from local_llm_service.worker.errors import InvalidRequest

_ENCODING_HINT = "Convert it first, for example with `iconv -f latin1 -t utf-8`."


class Seconds(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no argument there
    """A finite number of seconds, not less than 0."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the word; click's usage error where it is none."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds) or seconds < 0:
            self.fail(f"{value!r} is not a number of seconds, 0 or more.", param, ctx)
        return seconds


SECONDS = Seconds()


def read_text(path: str) -> str:
    """The text of a file, or of stdin for `-`; a byte-order mark is left out.

    Raises InvalidRequest.
    """
    name = "stdin" if path == "-" else path
    try:
        data = _stdin() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequest(f"{name}: {error.strerror}", "Give a file that exists.") from None
    except ValueError as error:
        if not isinstance(error, UnicodeDecodeError):
            raise InvalidRequest(f"{name}: is not a file name", "Give a file.") from None
        at = error.start
    raise InvalidRequest(f"{name}: is not UTF-8 text at byte {at}", _ENCODING_HINT)


def _stdin() -> bytes:
    if sys.stdin is None:  # closed by the shell: `<&-`
        raise InvalidRequest("stdin: is closed", "Give a file.")
    buffer = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read().encode() if buffer is None else bytes(buffer.read())


def read_argument(word: str) -> str:
    """A text on the command line, or stdin for `-`. Raises InvalidRequest."""
    if word == "-":
        return read_text("-")
    try:
        word.encode()
    except UnicodeEncodeError as error:  # Python keeps the bytes of such a word as surrogates
        at = error.start
    else:
        return word
    raise InvalidRequest(
        f"the text on the command line is not UTF-8 at character {at}", _ENCODING_HINT
    )


def read_json(path: str) -> Any:
    """The JSON document in a file or on stdin. Raises InvalidRequest, which names the line."""
    name = "stdin" if path == "-" else path
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{name}: is not JSON at line {error.lineno}") from None
    except RecursionError:
        raise InvalidRequest(f"{name}: is nested too deep") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InvalidRequest(f"{name}: has a number that is too long") from None
