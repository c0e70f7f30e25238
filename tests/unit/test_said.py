"""What a message says: its numbers, its words, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest
import text_to_num

from local_llm_service.tasks.parameters.numbers import Numbers
from local_llm_service.tasks.parameters.said import Said, Verdict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("roll two dice", 2),
        ("revenues of $1.2M", 1_200_000),
        ("costing $200,000", 200_000),
        ("5% a year", 5),
        ("5% a year", 0.05),
        ("the point A(3,4)", 4),
        ("2,5 Stunden", 2.5),
        ("1.234.567,89 €", 1234567.89),
        ("20, and -25", -25),
        ("5 million dollars", 5_000_000),
        ("zwei Millionen", 2_000_000),
        ("vingt-deux chats", 22),
        ("treinta y cinco", 35),
        ("-4 degrees", -4),
        ("५ सेब", 5),
        ("２５個", 25),
        ("10k users", 10_000),
        ("1e5 rows", 100_000),
        ("3x^2", 3),
        ("440Hz", 440),
        ("x=.5", 0.5),
        ("[1,2,3]", 3),
        ("at 46.603354,1.8883340", 1.888334),
        ("May 13, 2019", 13),
    ],
)
def test_a_number_is_found_in_each_usual_form(text: str, value: float) -> None:
    """In digits of any script, and in words of eight languages."""
    assert Numbers(text).count(value) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1234", 123), ("1234", 34), ("12.5", 5), ("pages 3-5", -5), ("", 0), ("1e999", 1)),
        *(("a", 1), ("200,000", 200), ("-25", 25)),
    ],
)
def test_a_part_of_a_number_is_none(text: str, value: float) -> None:
    """Digits belong together."""
    assert Numbers(text).count(value) == 0


@pytest.mark.parametrize(
    ("message", "value", "says"),
    [
        ("Who won in Bern?", "bern", True),
        ("Who won in Bern?", "Basel", False),
        ("Flights to New York", "New York, NY", True),
        ("The Battle of X", "The Battle of Waterloo", True),
        ("location of the ?", "The Battle of Waterloo", False),
        ("that allows camping", "camp", True),
        ("mail ann@example.org", "ann@example.org", True),
        ("mail ann@example.org", "bob@example.org", False),
        ("see https://a.example/b", "https://a.example/b", True),
        ("see https://a.example/b", "https://a.example/c", False),
        ("on December 13, 2019", "2019-12-13", True),
        ("on December 13, 2019", "2019-11-13", False),
        ("on December 13", "2019-12-13", False),
        ("am 13. Dezember 2019", "2019-12-13", True),
        ("on 3/5/2024", "2024-05-03", True),
        ("at 8pm", "20:00", True),
        ("at 8pm", "21:00", False),
        ("room 12", "Room 13", False),
        ("two rooms", "2 rooms", True),
        ("call 555 12 34", "555-1234", True),
        ("at 8pm", "8:00 PM", True),
        ("我想知道上海目前的天气", "上海", True),
        ("我想知道上海目前的天气", "北京", False),
        ("我想知道上海目前的天气", "Shanghai", True),  # cannot be checked
        ("anything", True, True),
        ("9 lives", [9, 8], False),
        ("Ann's lives", ["Ann", "Bob"], True),
        ("9 lives", {"lives": 9, "more": 8}, False),
    ],
)
def test_a_message_says_a_value_or_does_not(message: str, value: Any, says: bool) -> None:
    """By its words and numbers, in any script."""
    assert Said(message).says(value) is says


@pytest.mark.parametrize(
    ("text", "copied", "meant"),
    [
        ("$200,000 in 5 years", 200, 200_000),
        ("$300,000", 30_000, 300_000),
        ("2, 3 and -4", 4, -4),
        ("from 200,000 to 200,500", 200, 200),  # nobody knows which
        ("200 of 200,000", 200, 200),
        ("$300,000", 3, 3),
    ],
)
def test_a_number_that_was_copied_badly_is_known(text: str, copied: int, meant: int) -> None:
    """JSON has no separators, so a model may stop at one; and a sign is soon lost."""
    assert Numbers(text).whole(copied) == meant


@pytest.mark.parametrize("text", ["9" * 20_000, "1," * 10_000, "one " * 5_000, "- " * 10_000])
def test_a_long_text_is_read_in_pieces(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """text2num takes more than twice as long for twice the text; each language reads it once."""
    pieces: list[str] = []

    def recorded(piece: str, language: str, threshold: float) -> str:
        if len(piece) > len("one"):
            pieces.append(piece)
        return str(text2num(piece, language, threshold))

    text2num = text_to_num.alpha2digit
    monkeypatch.setattr(text_to_num, "alpha2digit", recorded)
    assert Numbers(text).count(7.5) == 0
    assert all(len(piece) <= 1000 for piece in pieces)
    assert sum(map(len, pieces)) <= 8 * len(text)


def test_a_mention_is_taken_once() -> None:
    """Numbers by value, texts by their letters; lists and objects take none."""
    said = Said("3 for Ann, 4 for Ann")
    assert [said.take(3), said.take(3)] == [Verdict.SAID, Verdict.TAKEN]
    taken = [said.take(name) for name in ("Ann", "ann", "Ann")]
    assert taken == [Verdict.SAID, Verdict.SAID, Verdict.TAKEN]
    assert [said.take([4]), said.take(4), said.take(5)] == ["said", "said", "unsaid"]
