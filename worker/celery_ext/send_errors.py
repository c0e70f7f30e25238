"""What Celery raises to a caller when Redis is away. Every producer imports this at once."""

from __future__ import annotations

import redis
from kombu.exceptions import EncodeError, OperationalError, SerializerNotInstalled

#: What sending a message raises. RuntimeError comes from Celery's result backend, see has_given_up.
SEND_ERRORS = (OperationalError, redis.RedisError, RuntimeError)
#: What making a message raises for what its caller has put in. RecursionError is a RuntimeError, as
#: are errors of a lost connection.
UNSENDABLE = (
    *(EncodeError, SerializerNotInstalled),
    *(TypeError, ValueError, OverflowError, RecursionError),
)


def has_given_up(error: RuntimeError) -> bool:
    """Tell whether Celery's result backend has tried to reach Redis too often.

    It has no class for that, only a text: E_RETRY_LIMIT_EXCEEDED in
    celery/backends/asynchronous.py.
    """
    return "Retry limit exceeded" in str(error)
