"""What Celery raises to a caller when Redis is away. Every producer imports this at once."""

from __future__ import annotations

import redis
from kombu.exceptions import OperationalError

#: What sending a message raises.
SEND_ERRORS = (OperationalError, redis.RedisError)
