"""The steps of a job: what a kind's program, `work(request, ask)`, can ask of its engine.

A step is one prompt that the engine runs, and its completion. A kind may need several: the pieces
of a long text, a second try at a budget, a repair. Nothing in here knows Redis or Celery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed


class Steps(Protocol):
    """What one job asks of its engine; by convention the parameter is called `ask`."""

    @property
    def max_output_tokens(self) -> int:
        """The most tokens that any completion may have (MAX_OUTPUT_TOKENS)."""

    @property
    def context_tokens(self) -> int:
        """Tokens of the model's context, prompt and completion together.

        Raises a ServiceError if the engine cannot tell it now.
        """

    @property
    def steps(self) -> int:
        """How many completions the job has had so far; counts are none."""

    @property
    def spent(self) -> Spent:
        """What the steps have cost so far, counts too."""

    @property
    def at_home(self) -> Steps:
        """The same job's steps on one's own hardware: these, where they do not leave it."""

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        """Run one step. `shared`: another job may have run the same one, so look for it first.

        A job that runs again finds the steps that it had finished. No reader of a stream sees the
        text of a prompt that is not `spoken`. Raises what `Engine.complete` raises, and Interrupted
        where the job has to give up its slot.
        """

    def embed(self, texts: ToEmbed) -> Completion:
        """Turn texts into vectors, all or none. Raises what `Engine.embed` raises."""

    def count(self, text: str) -> int:
        """The tokens of a text, as the model server counts them.

        It may ask the engine to read the text, which counts in the job's usage. Raises what
        `Engine.complete` raises.
        """

    def most_tokens(self, text: str) -> int:
        """A number of tokens that the text never has more of. Asks nobody."""

    def likely_tokens(self, text: str) -> int:
        """An estimate of the text's tokens, rather too many than too few. Asks nobody.

        It is the same in every run of a job, so that one which sizes its prompts by it finds its
        steps again; only a prompt that the engine refuses raises it.
        """

    def keep(self) -> None:
        """Keep the last step now, for a job that runs again: the next one is not asked here."""

    def prompt_nano_usd(self, tokens: int) -> int:
        """What so many tokens of a prompt cost, nanodollars; 0 where nothing is paid."""

    def progress(self, done: int, total: int, phase: str) -> None:
        """Say how far the job is, in steps; `phase` says in one word what it does."""


#: A kind's program: returns the answer's own fields, with `finish_reason` where it is another than
#: that of the last completion. Raises InvalidOutput if no answer keeps the kind's contract.
Program = Callable[[Any, Steps], Mapping[str, object]]
