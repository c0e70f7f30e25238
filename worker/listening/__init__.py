"""Hearing what Redis publishes, results above all: the logic, and a listener for threads and one
for event loops, each with one connection for all who wait."""
