"""Decides whether a worker takes jobs now, and publishes the worker's state."""
