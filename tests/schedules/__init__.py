"""Random schedules of submit, start, finish, fail, cancel and crash against the shipped scripts.

- actors.py: threads that stop before every Redis call until the schedule lets them go on
- engine.py: a model that answers when the schedule says so
- worker.py: one worker, with its slots, its heartbeat and its memory; all but the engine is shipped
- jobs.py, site.py: what is asked; callers, workers and models on one Redis, and time
- moves.py, rest.py: the moves of a schedule, and how it ends
- look.py, rules.py: what is in Redis after every step, and what must hold there
- machine.py, stage.py: hypothesis' state machine that makes schedules, and what it plays on
- mutants.py: one-line faults of the scripts, with a schedule that finds each

`python -m tests.schedules` plays a schedule call by call, or looks for one that finds a mutant.
"""
