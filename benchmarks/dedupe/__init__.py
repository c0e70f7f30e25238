"""The parts of benchmarks/bench_dedupe.py: the cost of a repeated question, beside plain Celery."""
