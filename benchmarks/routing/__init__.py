"""The parts of benchmarks/bench_routing.py: what a choice costs, and what a route costs a job."""
