"""Tells simple prompts from complex ones. `ROUTER` names another function of this shape.

The default knows length and structure, and no words. On public labels rules of key words are at
chance, and length alone has an AUC of 0.57 to 0.60 (0.5 is chance, 1 is perfect): so little can be
known without a log of one's own. `local-llm route fit` makes a router of such a log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_llm_service.tasks.routing.structure import structure


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` is 0 for the simplest prompt and 1 for the most complex one."""

    is_complex: bool
    score: float


#: What ROUTER names: it gets a prompt's text, and must be quick, pure and private.
Classify = Callable[[str], Verdict]

#: Characters of a prompt that is as likely to be complex as not.
_MIDDLE_CHARACTERS = 2000
#: How many characters one more of these counts as. By hand: nothing shows that other values, or
#: none, would be worse.
_QUESTION, _STEP, _CODE_LINE = 300, 200, 100


def classify(prompt: str) -> Verdict:
    """By length, to which each further question, each step and each line of code adds some."""
    seen = structure(prompt)
    weight = (
        seen.characters
        + _QUESTION * max(0, seen.questions - 1)
        + _STEP * seen.steps
        + _CODE_LINE * seen.code_lines
    )
    score = weight / (weight + _MIDDLE_CHARACTERS)
    return Verdict(score >= 0.5, score)
