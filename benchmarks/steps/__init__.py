"""The parts of benchmarks/bench_steps.py: what the steps of jobs cost."""
