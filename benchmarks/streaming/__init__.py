"""Parts of bench_stream.py: the first piece, and what streaming costs a worker."""
