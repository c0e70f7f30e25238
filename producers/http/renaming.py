"""Errors of a kind in the words of another API's fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from local_llm_service.worker.errors import InvalidRequest

_FIELD = re.compile(r"(?:^|(?<=; ))([a-z_]\w*)((?:\.[\w-]+)*)(?=: )", re.ASCII)


@contextmanager
def in_words_of(rename: Callable[[str, str], str]) -> Iterator[None]:
    """Let an InvalidRequest name the fields that its caller knows.

    `rename` gets a field's name, and the path inside it, which begins with a dot or is empty.
    """
    try:
        yield
    except InvalidRequest as error:
        message = _FIELD.sub(lambda found: rename(found[1], found[2]), error.message)
        raise type(error)(message, error.hint) from None
