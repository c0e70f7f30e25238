"""Plays random schedules of submits, starts, ends, cancels and crashes on the shipped scripts.

- actors.py: threads that stop before every Redis call until the schedule lets them go on
- engine.py: a model that answers when the schedule says so
- worker.py: one worker with its slots, heartbeat and memory, shipped code except for the engine
- jobs.py, site.py: the jobs; callers, workers and models on one Redis, and the passing of time
- moves.py, rest.py: the moves of a schedule, and how it ends
- look.py, rules.py, money.py: the content of Redis after every step, and the rules that must hold
- machine.py, stage.py: hypothesis' state machine that makes schedules, and the stage for them
- mutants.py, paid_mutants.py: one-line faults of the scripts, with a schedule that finds each

`python -m tests.schedules` plays a schedule call by call or searches for one that finds a mutant.
"""
