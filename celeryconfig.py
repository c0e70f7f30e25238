"""Celery's settings for this service, each with its reason. Measured on celery 5.7.0, kombu 5.7.0.

worker/app.py loads this module, by its full name, for workers and producers alike. The settings
that an operator may change come from the environment (worker/settings.py).
"""

from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.amqp import QUEUES
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys, relative

_settings = get_settings()

# --- One Redis ------------------------------------------------------------------------------
# Broker and results share one database, so that both are lost together and come back together. The
# transport derives from kombu's and uses our key names.
broker_url = _settings.redis_url
broker_transport = "local_llm_service.worker.celery_ext.transport:Transport"
# Stores a result, announces it and ends the delivery of the message in one script.
result_backend = f"local_llm_service.worker.celery_ext.result_backend:Backend+{_settings.redis_url}"

# --- Queues ---------------------------------------------------------------------------------
# The order is the priority: a free slot pops the first queue that has a job.
task_queues = QUEUES
task_default_queue = "llm.normal"
# A queue name with a typo must fail, not fill a list that nobody reads.
task_create_missing_queues = False

# --- Delivery -------------------------------------------------------------------------------
# A job leaves Redis when it is done, not when it is taken: it survives its worker.
task_acks_late = True
# One message per slot and none waiting in worker memory. With the default of 4 an urgent job
# waited 1.2 s instead of 0.1 s behind 1000 short ones.
worker_prefetch_multiplier = 1
# The transport counts in-flight deliveries; after a reconnection Celery would count them twice.
worker_enable_prefetch_count_reduction = False
# Celery would hold limited messages in memory, where neither a cancel nor a deadline reaches them.
# A rate limit is refused, see celery_ext/rate_limits.py.
worker_disable_rate_limits = True
# Threads, as jobs wait for HTTP: a slot costs 0.03 MB, against 23 MB with processes. Our pool also
# frees the slot after an error.
worker_pool = "local_llm_service.worker.celery_ext.pool:TaskPool"
broker_transport_options = {
    "queue_order_strategy": "priority",  # the transport keeps the declared order by itself
    "priority_steps": [0],  # the queue is the priority: no second axis, 3 keys to pop from
    # It has no effect here, as the transport restores no message (the reaper does, by leases); it
    # is set for stock tools that look at `unacked`.
    "visibility_timeout": int(_settings.lease_seconds),
    "unacked_key": relative(Keys.unacked),
    "unacked_index_key": relative(Keys.unacked_index),
    "unacked_mutex_key": relative(Keys.unacked_mutex),
    # All of kombu's own names, the queue lists too, go under our prefix: Flower and KEDA find them
    # by this option. kombu puts the prefix before the names above.
    "global_keyprefix": _settings.key_prefix,
    "fanout_prefix": keys.FANOUT,
    # Without timeouts, a connection whose peer has vanished hangs forever. They are longer than the
    # BRPOP's own second and shorter than the 5 s within which a producer must get an error.
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
broker_connection_timeout = 2
broker_connection_retry_on_startup = True
# The default gives up, and ends the worker, after 100 tries.
broker_connection_max_retries = None
# The pool grows as needed. The default of 10 makes the 11th thread of a producer wait; None opens
# two connections for each call (5.2 ms instead of 0.7).
broker_pool_limit = 1024

# --- Producers fail in seconds, not in 19 (Redis refuses) or never (Redis hangs) --------------
# The transport's own client tries twice to put a message (worker/store/connection.py). kombu's
# tries would come on top: 8 s when Redis falls silent between two commands of one call.
task_publish_retry = False
_short_retry = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}
task_publish_retry_policy = _short_retry
redis_socket_timeout = 3
redis_socket_connect_timeout = 2
redis_socket_keepalive = True
redis_backend_health_check_interval = 15
result_backend_transport_options = {
    "retry_policy": _short_retry,
    "global_keyprefix": _settings.key_prefix,
}

# --- Results --------------------------------------------------------------------------------
# A worker sets this to true at its start (celery_ext/steps.py), as an answer must not be lost while
# Redis is away. A caller must not hang.
result_backend_always_retry = False
result_backend_base_sleep_between_retries_ms = 100
result_backend_max_sleep_between_retries_ms = 2000
result_expires = _settings.result_ttl
# The job record says "running"; writing that to the result as well would cost a round trip.
task_track_started = False

# --- Only JSON, and people's text nowhere but in the message and the result --------------------
# Under a serializer of our own: kombu's makes objects of data that looks like its types, also where
# a model wrote it. Control commands and events stay in kombu's.
task_serializer = result_serializer = plain_json.NAME
event_serializer = "json"
accept_content = [plain_json.NAME, "json"]
result_accept_content = [plain_json.NAME]
result_extended = False  # would store the prompt again beside the answer
worker_consumer = "local_llm_service.worker.celery_ext.consumer:Consumer"  # logs no message bodies

# --- Control and events under our own names, which another Celery app does not listen to --------
control_exchange = keys.CONTROL_EXCHANGE
event_exchange = keys.EVENT_EXCHANGE
event_queue_prefix = "llm.events"
worker_send_task_events = True  # Flower
task_send_sent_event = False  # would make each producer process a "worker" in Flower
worker_hijack_root_logger = False  # `python -m worker` sets up the log
worker_redirect_stdouts = False

# No time limits here: the threads pool ignores them. The engine has timeouts of its own.


def __getattr__(name: str) -> object:
    """Celery reads `worker_concurrency` where a worker starts; no producer opens ENGINES_FILE."""
    if name != "worker_concurrency":
        raise AttributeError(name)
    from local_llm_service.worker.fleet.fleet import concurrency_of

    return concurrency_of(_settings)
