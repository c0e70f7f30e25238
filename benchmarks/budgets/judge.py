"""Whether a summary keeps its contract, without a line of the code that made it."""

from __future__ import annotations

import re

from benchmarks.chaos.judge import Measure

#: The full stops of scripts, then what may close a quotation, an aside or a mark of Markdown.
_FINISHED = re.compile(r"""[.!?…。！？｡।॥։።؟۔။][\s"'“”’»›)\]}）」』】》*_~`\[\d\]]*$""")
_LINE = re.compile(r"(\s*([-*+•‣◦–]|\(?(\d{1,3}|[A-Za-z])[.)])\s+\S|\|.*\|$|```|~~~)")
_PICTURES = "🎉 "
_THAI = re.compile(r"[\u0e00-\u0eff]$")


def is_finished(text: str) -> bool:
    """Whether a text ends as a sentence, an item of a list, a row or a block of code does."""
    text = text.rstrip().rstrip(_PICTURES)
    last = text.rpartition("\n")[2]
    return bool(_FINISHED.search(text) or _LINE.match(last) or _THAI.search(last))


def verdicts(records: list[dict[str, object]]) -> list[Measure]:
    """The measures of answers, each with `kept` its budget, `finished`, or the code of an error."""
    answers = [one for one in records if "error" not in one]
    written = [one for one in answers if one["finish_reason"] != "unchanged"]
    refused = [one["error"] for one in records if "error" in one]
    other = [code for code in refused if code != "invalid_output"]
    return [
        Measure("answers", len(answers), note=f"of {len(records)} jobs"),
        Measure("budgets broken", sum(not one["kept"] for one in answers), 0),
        Measure("unfinished sentences", sum(not one["finished"] for one in written), 0),
        Measure("inputs not read to their end", sum(one["coverage"] != 1 for one in answers), 0),
        Measure("errors other than invalid_output", len(other), 0),
        Measure("not one sentence within the budget", len(refused) - len(other)),
        Measure("unchanged", len(answers) - len(written)),
    ]
