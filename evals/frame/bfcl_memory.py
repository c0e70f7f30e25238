"""The memory set of the Berkeley Function-Calling Leaderboard: conversations with gold strings.

A question counts only where its own conversation holds a gold string word for word: of the others
(times written another way, answers that follow from the text) no rule can tell whether a text has
kept them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evals.frame.data import Data, json_lines
from evals.frame.judge import holds, plain_words

SOURCE = "BFCL v4, memory (PyPI bfcl-eval)"
LICENCE = "Apache-2.0"
SCENARIOS = ("customer", "finance", "healthcare", "notetaker", "student")
#: A question of a conversation, and the strings of which an answer holds one.
Question = tuple[str, list[str]]


@dataclass(frozen=True)
class Conversation:
    """`turns` are the user's messages, oldest first: the set has no others."""

    key: str
    scenario: str
    turns: list[str]
    questions: list[Question]

    @property
    def text(self) -> str:
        """All turns, as a text."""
        return "\n\n".join(self.turns)

    @property
    def messages(self) -> list[dict[str, str]]:
        """All turns, as a chat has them."""
        return [{"role": "user", "content": turn} for turn in self.turns]


def conversations(data: Data) -> list[Conversation]:
    """All that have a question, by scenario and in their order. Raises DataMissing."""
    questions = _read(data, "BFCL_v4_memory")
    answers = {one["id"]: one for one in _read(data, "possible_answer/BFCL_v4_memory")}
    found = []
    for scenario in SCENARIOS:
        asked = [one for one in questions if one["scenario"] == scenario]
        for place, one in enumerate(_read(data, f"memory_prereq_conversation/memory_{scenario}")):
            turns = [message["content"] for turn in one["question"] for message in turn]
            text = "\n\n".join(turns)
            mine = [
                (question["question"][0][0]["content"], answers[question["id"]]["ground_truth"])
                for question in asked
                if _is_of(text, answers[question["id"]])
            ]
            if mine:
                found.append(Conversation(f"{scenario}-{place}", scenario, turns, mine))
    return found


def _read(data: Data, name: str) -> list[Any]:
    return json_lines(data.in_package("bfcl_eval", "bfcl-eval", f"data/{name}.json"))


def _is_of(text: str, answer: dict[str, Any]) -> bool:
    words = plain_words(text)
    parts = [plain_words(part) for part in answer["source"].split("...") if part.strip(" .")]
    return all(part in words for part in parts) and holds(text, answer["ground_truth"])
