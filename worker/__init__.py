"""The worker's side of a job: settings, store, delivery, engine, embedded pieces.

Imports neither tasks nor producers.
"""

if __name__ == "worker":  # in a checkout: the short name, see src/local_llm_service/_checkout.py
    import sys

    sys.path.insert(0, f"{__path__[0].rpartition('/')[0]}/src")
    from local_llm_service._checkout import alias

    alias(__name__)
