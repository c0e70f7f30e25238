"""`python -m producers`: the command line."""

from local_llm_service.producers.cli import main

if __name__ == "__main__":
    main()
