"""Quality of this service beside the same model asked naively: `python -m evals`."""
