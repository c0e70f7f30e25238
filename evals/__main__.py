"""`python -m evals`, and `python -m evals routing`; see docs/evals.md."""

import sys

from evals.evaluate import main
from evals.routing.evaluation import main as routing

if __name__ == "__main__":
    if sys.argv[1:2] == ["routing"]:
        routing(sys.argv[2:])
    main()
