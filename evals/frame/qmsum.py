"""QMSum's meetings with their questions, answers and the turns that hold the answers."""

from __future__ import annotations

from dataclasses import dataclass

from evals.frame.data import Data, json_lines
from evals.frame.judge import names_and_numbers, plain_words, rare_words

SOURCE = "QMSum, test split (github.com/Yale-LILY/QMSum)"
LICENCE = "MIT"
FILE = "qmsum/test-12.jsonl"
HINT = "It is the first 12 lines of data/ALL/jsonl/test.jsonl in github.com/Yale-LILY/QMSum."


@dataclass(frozen=True)
class MeetingQuestion:
    """`question` is None for a summary of the whole meeting.

    `facts` are the names, numbers and rare words of the gold answer that are also in the turns
    that it is from. `spans` are these turns, all of them for the whole meeting.
    """

    key: str
    meeting: list[str]
    question: str | None
    answer: str
    spans: list[str]
    facts: list[str]

    @property
    def text(self) -> str:
        """The whole meeting, a line for each turn."""
        return "\n".join(self.meeting)


def meeting_questions(data: Data) -> list[MeetingQuestion]:
    """All questions that have a fact, meeting by meeting. Raises DataMissing."""
    found = []
    lines = json_lines(data.file(FILE, HINT).read_text(encoding="utf-8"))
    for place, one in enumerate(lines):
        turns = [f"{turn['speaker']}: {turn['content']}" for turn in one["meeting_transcripts"]]
        for number, query in enumerate(one["general_query_list"]):
            found.append(
                _question(f"{place}-general-{number}", turns, None, query["answer"], turns)
            )
        for number, query in enumerate(one["specific_query_list"]):
            spans = [
                turn
                for first, last in query["relevant_text_span"]
                for turn in turns[int(first) : int(last) + 1]
            ]
            key = f"{place}-specific-{number}"
            found.append(_question(key, turns, query["query"], query["answer"], spans))
    return [one for one in found if one.facts]


def _question(
    key: str, turns: list[str], question: str | None, answer: str, spans: list[str]
) -> MeetingQuestion:
    held, whole = plain_words("\n".join(spans)), "\n".join(turns)
    named = [fact for fact in names_and_numbers(answer) if plain_words(fact) in held]
    rare = [word for word in rare_words(answer, whole) if plain_words(word) in held]
    asked = plain_words(question or "")
    facts = [
        fact
        for fact in dict.fromkeys(plain_words(one).strip() for one in [*named, *rare])
        if plain_words(fact) not in asked  # what the question says is no fact that was kept
    ]
    return MeetingQuestion(key, turns, question, answer, spans, facts)
