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

    The turns of `meeting` from `first` on hold the answer. `facts` are the names, numbers and rare
    words of the gold `answer` that are also in these turns, and not in the question.
    """

    key: str
    meeting: list[str]
    question: str | None
    answer: str
    first: int
    facts: list[str]

    @property
    def text(self) -> str:
        """The whole meeting, a line for each turn."""
        return "\n".join(self.meeting)

    def part(self, words: int) -> str:
        """At most so many words of the meeting, in whole turns, where the answer begins.

        At most a quarter of them come before. A longer turn that the answer begins in is whole.
        """
        start, held = self.first, 0
        while start > 0 and held + _words(self.meeting[start - 1]) <= words // 4:
            start -= 1
            held += _words(self.meeting[start])
        end = self.first
        while end < len(self.meeting) and held + _words(self.meeting[end]) <= words:
            held += _words(self.meeting[end])
            end += 1
        return "\n".join(self.meeting[start : max(end, self.first + 1)])


def meeting_questions(data: Data) -> list[MeetingQuestion]:
    """All questions that have a fact, meeting by meeting. Raises DataMissing."""
    found = []
    lines = json_lines(data.file(FILE, HINT).read_text(encoding="utf-8"))
    for place, one in enumerate(lines):
        turns = [f"{turn['speaker']}: {turn['content']}" for turn in one["meeting_transcripts"]]
        for number, query in enumerate(one["general_query_list"]):
            facts = _facts(query["answer"], turns, turns, "")
            key = f"{place}-general-{number}"
            found.append(MeetingQuestion(key, turns, None, query["answer"], 0, facts))
        for number, query in enumerate(one["specific_query_list"]):
            spans = [(int(first), int(last)) for first, last in query["relevant_text_span"]]
            held = [turn for first, last in spans for turn in turns[first : last + 1]]
            facts = _facts(query["answer"], held, turns, query["query"])
            key, start = f"{place}-specific-{number}", min(spans)[0]
            asked = MeetingQuestion(key, turns, query["query"], query["answer"], start, facts)
            found.append(asked)
    return [one for one in found if one.facts]


def _words(turn: str) -> int:
    return len(turn.split())


def _facts(answer: str, held: list[str], meeting: list[str], question: str) -> list[str]:
    words = plain_words("\n".join(held))
    some = [*names_and_numbers(answer), *rare_words(answer, "\n".join(meeting))]
    told = plain_words(question)
    return [
        fact.strip()
        for fact in dict.fromkeys(plain_words(one) for one in some)
        if fact in words and fact not in told  # what the question says is no fact that was kept
    ]
