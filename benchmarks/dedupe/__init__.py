"""The parts of benchmarks/bench_dedupe.py: what a repeated question costs, beside plain Celery."""
