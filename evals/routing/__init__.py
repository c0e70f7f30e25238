"""`python -m evals routing`: what a route does with one's own log, beside what was once claimed."""
