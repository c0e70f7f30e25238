"""For the tests of a backend: the service in the test's own process, with a scripted model.

`pip install 'local-llm-service[testing]'` brings a pytest fixture, `local_llm` (plugin.py), which
docs/testing.md shows. Nothing is imported before the fixture is used.
"""
