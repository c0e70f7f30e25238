"""Parts of bench_http.py: what the HTTP service costs, and what it bears."""
