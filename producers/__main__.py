"""`python -m producers`: the command line."""

from producers.cli import main

if __name__ == "__main__":
    main()
