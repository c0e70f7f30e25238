"""The parts of bench_engines, and what they share."""
