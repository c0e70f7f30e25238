"""Keeps a worker's deliveries alive, and ends the jobs that a dead worker left behind."""
