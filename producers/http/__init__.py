"""HTTP in front of the queues: one process, no state of its own, any replica answers for any job.

`app.py` puts the rooms together; `gateway.py` is the one way in.
"""
