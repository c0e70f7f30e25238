"""kombu's Redis transport under this service's own names, so that two apps can share one Redis.

kombu takes most key names as transport options (celeryconfig.py sets them); the binding tables
are class attributes, hence this derived channel. Named by dotted path in `broker_transport`.
"""

from __future__ import annotations

from kombu.transport import redis as kombu_redis

from worker import names


class Channel(kombu_redis.Channel):
    """A Redis channel whose every key begins with `llm:` or is a queue of ours."""

    keyprefix_queue = names.BINDING
    keyprefix_binding_deadlines = names.BINDING_DEADLINES
    keyprefix_binding_permanent = names.BINDING_PERMANENT


class Transport(kombu_redis.Transport):
    """What `broker_transport` names."""

    Channel = Channel
