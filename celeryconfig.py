"""Celery's settings for this service, each with its reason. Measured on celery 5.7.0, kombu 5.7.0.

worker/app.py loads it, by its full name, for workers and producers alike; what an operator may
change comes from the environment (worker/settings.py) and is not set here.
"""

from local_llm_service.worker.celery_ext.amqp import QUEUES
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys, relative

_settings = get_settings()

# --- One Redis ------------------------------------------------------------------------------
# Broker and results in one database: when the broker is lost, so is the result backend, and both
# come back together. The transport is kombu's own under our key names.
broker_url = _settings.redis_url
broker_transport = "local_llm_service.worker.celery_ext.transport:Transport"
# Stores a result, announces it and ends custody of the message in one script.
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
# The transport counts what this process holds; after a reconnection Celery would count it twice.
worker_enable_prefetch_count_reduction = False
worker_concurrency = _settings.concurrency
# Threads, as jobs wait for HTTP: 0.03 MB a slot against 23 MB with processes; guarded.
worker_pool = "local_llm_service.worker.celery_ext.pool:TaskPool"
broker_transport_options = {
    "queue_order_strategy": "priority",  # the transport keeps the declared order by itself
    "priority_steps": [0],  # the queue is the priority: no second axis, 3 keys to pop from
    # Of no effect here, as the transport sweeps nothing (the reaper does, by leases); set for
    # stock tools that look at `unacked`.
    "visibility_timeout": int(_settings.lease_seconds),
    "unacked_key": relative(Keys.unacked),
    "unacked_index_key": relative(Keys.unacked_index),
    "unacked_mutex_key": relative(Keys.unacked_mutex),
    # Every name of kombu's own goes under our prefix, the lists of the queues too: Flower and KEDA
    # find them by this option. kombu puts it before the names above.
    "global_keyprefix": _settings.key_prefix,
    "fanout_prefix": keys.FANOUT,
    # Without timeouts a connection whose peer has vanished hangs for ever. Longer than the
    # BRPOP's own second, shorter than the 5 s in which a producer is promised an error.
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
broker_connection_timeout = 2
broker_connection_retry_on_startup = True
# The default gives up, and ends the worker, after 100 tries.
broker_connection_max_retries = None
# Filled as needed. The default of 10 makes the 11th thread of a producer wait; None opens two
# connections for each call (5.2 ms instead of 0.7).
broker_pool_limit = 1024

# --- Producers fail in seconds, not in 19 (Redis refuses) or never (Redis hangs) --------------
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
# With the threads pool an error while storing a result would lose the slot for ever.
result_backend_always_retry = True
result_backend_base_sleep_between_retries_ms = 100
result_backend_max_sleep_between_retries_ms = 2000
result_expires = _settings.result_ttl
# The job record says "running"; a second write of the same to the result would cost a round trip.
task_track_started = False

# --- Only JSON, and nothing of what people wrote anywhere but in the message and the result ----
task_serializer = result_serializer = event_serializer = "json"
accept_content = result_accept_content = ["json"]
result_extended = False  # would store the prompt again beside the answer
worker_consumer = "local_llm_service.worker.celery_ext.consumer:Consumer"  # logs no message bodies

# --- Control and events under our own names, so that a backend's Celery app hears none of them --
control_exchange = keys.CONTROL_EXCHANGE
event_exchange = keys.EVENT_EXCHANGE
event_queue_prefix = "llm.events"
worker_send_task_events = True  # Flower
task_send_sent_event = False  # would make each producer process a "worker" in Flower
worker_hijack_root_logger = False  # `python -m worker` sets up the log
worker_redirect_stdouts = False

# No time limits here: the threads pool ignores them. The engine has timeouts of its own.
