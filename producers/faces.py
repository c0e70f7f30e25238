"""Makes a method of a face from its declaration: the same name, parameters and docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def face_of(declared: Callable[..., Any], returns: str) -> Callable[[F], F]:
    """Dress a method as `declared`. `returns` is how it writes its result, with `{}` for that of
    `Calls[{}]` or `Ask[{}]`."""

    def dress(method: F) -> F:
        signature = inspect.signature(declared)
        _, _, inner = str(signature.return_annotation).partition("[")
        answer = returns.format(inner.removesuffix("]"))
        face: Any = method
        face.__signature__ = signature.replace(return_annotation=answer)
        face.__annotations__ = {**declared.__annotations__, "return": answer}
        face.__name__, face.__doc__ = declared.__name__, declared.__doc__
        return method

    return dress
