"""The long proof of delivery: real processes are killed, cut off and stopped, and nothing is lost.

`python -m benchmarks.chaos [case ...] [--short]`. It judges from outside, by what the scripted
engines were asked and what was stored in Redis, never by the service's own counters.
"""
