"""Tells a connection that was cut from one that never stood: the request may have been run."""

from __future__ import annotations

import aiohttp


def was_cut_off(error: Exception) -> bool:
    """Whether the server closed a connection that stood, without a byte of an answer.

    aiohttp knows; under httpx's interface it looks as if nobody had answered (ConnectTimeout).
    """
    cause = error.__cause__
    if not isinstance(cause, aiohttp.ClientConnectionError):
        return False
    return not isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError)
