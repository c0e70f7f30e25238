"""What Celery raises to a caller when Redis is away. Every producer imports this at once."""

from __future__ import annotations

import redis
from kombu.exceptions import EncodeError, OperationalError, SerializerNotInstalled

#: What sending a message raises.
SEND_ERRORS = (OperationalError, redis.RedisError)
#: What making a message raises for what its caller has put in.
UNSENDABLE = (
    *(EncodeError, SerializerNotInstalled),
    *(TypeError, ValueError, OverflowError, RecursionError),
)
