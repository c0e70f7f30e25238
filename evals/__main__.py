"""`python -m evals`; see docs/evals.md."""

from evals.evaluate import main

if __name__ == "__main__":
    main()
