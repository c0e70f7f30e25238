"""Parts of bench_clients.py: many waits and many streams in one process."""
