"""How a job is done: settings, engine, delivery, embedded pieces.

Imports neither tasks nor producers.
"""
