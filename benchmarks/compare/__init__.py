"""Compares this checkout with another one, on the same machine at the same time."""
