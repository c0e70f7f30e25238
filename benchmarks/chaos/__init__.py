"""The long proof of delivery: real processes are killed, cut off and stopped, and nothing is lost.

`python -m benchmarks.chaos [case ...] [--short]` judges from outside, by the requests that the
scripted engines received and the results stored in Redis, never by the service's own counters.
"""
