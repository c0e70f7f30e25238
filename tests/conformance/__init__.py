"""What every engine promises, tried on every engine: one file for each promise.

A new engine passes by adding a *subject* to `subjects.py` or `real_subjects.py`: an object that
makes the engine, and that makes a server do what a `Scene` says and tells what the server saw. A
subject that plays no scenes, as a real model does not, is tried in the tests of the fixture
`subject`; one that plays them in those of `scripted`, too.

    python -m pytest tests/conformance -k vllm          one subject
    python -m tests.conformance                         longer: also the real servers' slow promises
"""
