"""The overnight batch, measured: bench_batch.py."""
