"""Sentences of any script, and which of them are finished."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local_llm_service.tasks.texts.sentences import finished, sentences, whole_sentences

#: A text, and its sentences without white space.
IN_SENTENCES = {
    "abbreviations": (
        "Dr. Smith met J. R. Jones at 5 p.m. on Monday, i.e. late. They left.",
        ["Dr. Smith met J. R. Jones at 5 p.m. on Monday, i.e. late.", "They left."],
    ),
    "decimals": (
        "It costs $1,234.56 or 3.50. Version 2.0.1 is out.",
        ["It costs $1,234.56 or 3.50.", "Version 2.0.1 is out."],
    ),
    "addresses": (
        "See https://a.b/c.html?x=1.2 for more. Mail a.b@c.org. Bye.",
        ["See https://a.b/c.html?x=1.2 for more.", "Mail a.b@c.org.", "Bye."],
    ),
    "quotes": (
        'He said "No." Then he left. “Is it?” she asked.',
        ['He said "No."', "Then he left.", "“Is it?” she asked."],
    ),
    "marks of Markdown": ("**Bold one.** Next one.", ["**Bold one.**", "Next one."]),
    "emoji": ("Great! 🎉 Next one. 😀", ["Great!", "🎉 Next one. 😀"]),
    "list": ("- one\n- two. Three.\n1. Four", ["- one", "- two.", "Three.", "1. Four"]),
    "lines of one paragraph": ("This line is\nwrapped. Next.", ["This line is\nwrapped.", "Next."]),
    "heading": ("# Title\nText. More.", ["# Title", "Text.", "More."]),
    "table": ("| a. b | c |\n| 1. 2 | 3 |", ["| a. b | c |", "| 1. 2 | 3 |"]),
    "code": (
        "Use:\n```py\nx = 1. # A. B\n\ny\n```\nDone now. Bye.",
        ["Use:", "```py\nx = 1. # A. B\n\ny\n```", "Done now.", "Bye."],
    ),
    "Chinese": ("今天天气很好。我们去公园！好吗？", ["今天天气很好。", "我们去公园！", "好吗？"]),
    "Japanese": ("終わりました。「はい。」次です。", ["終わりました。", "「はい。」", "次です。"]),
    "Hindi": ("यह पहला है। यह दूसरा है। क्या?", ["यह पहला है।", "यह दूसरा है।", "क्या?"]),
    "Arabic": ("هذه جملة. هل هذه جملة؟ نعم!", ["هذه جملة.", "هل هذه جملة؟", "نعم!"]),
    "Thai": ("วันนี้อากาศดี ไปเที่ยว 3 วัน", ["วันนี้อากาศดี", "ไปเที่ยว 3 วัน"]),
    "Russian": ("Это 5 руб. за штуку. Да.", ["Это 5 руб. за штуку.", "Да."]),
    "Greek": ("Τι κάνεις; Καλά είμαι.", ["Τι κάνεις;", "Καλά είμαι."]),
    "Armenian": ("Սա մեկ է։ Սա երկու է։", ["Սա մեկ է։", "Սա երկու է։"]),
    "Amharic": ("ይህ ነው። ይህ ሁለት።", ["ይህ ነው።", "ይህ ሁለት።"]),
    "two scripts": ("The word 你好 is a greeting. 再见。Bye.", None),
}
HOSTILE = [
    "." * 20_000,
    "\n" * 20_000,
    "\u2029\r" * 9_000,
    "「」" * 9_000,
    "a. " * 9_000,
    "*.*" * 5_000,
]


@pytest.mark.parametrize("name", IN_SENTENCES)
def test_sentences_end_where_readers_see_an_end(name: str) -> None:
    """Abbreviations, decimals, lists, code, and scripts without spaces are respected."""
    text, expected = IN_SENTENCES[name]
    found = [one.strip() for one in sentences(text)]
    assert found == (expected or ["The word 你好 is a greeting.", "再见。", "Bye."])


_FRAGMENTS = [
    "One. ",
    "Dr. ",
    "- a\n",
    "\n\n",
    "```\n",
    "今天。",
    "| a |\n",
    "# H\n",
    "「",
    "”",
    "ไป ",
    "3. ",
    "🎉",
    "\ud800",
    "\r",
    "x",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=8), max_size=40).map("".join))
@example("")
def test_no_character_is_lost(text: str) -> None:
    """Sentences together are the text; whole ones begin it."""
    assert "".join(sentences(text)) == text
    assert text.lstrip().startswith(whole_sentences(text))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_read_like_any_other(text: str) -> None:
    """One of 20,000 full stops, white space or quotes takes no square of its length."""
    assert "".join(sentences(text)) == text


def test_a_paragraph_longer_than_what_is_read_at_a_time_has_its_sentences() -> None:
    """They end at the same places as in a short one."""
    text = "The cat sat on the mat, said Dr. Smith again. " * 400
    assert sentences(text) == ["The cat sat on the mat, said Dr. Smith again. "] * 400


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two! Three is cu", "One. Two!"),
        ("One. Dr.", "One."),
        ('He said "No." Then he', 'He said "No."'),
        ("- One\n- Two\n- Thr", "- One\n- Two"),
        ("1. One.\n2. Two.\n3.", "1. One.\n2. Two."),
        ("One is here.\n\n## Next", "One is here."),
        ("One is here. The others are:", "One is here."),
        ("One is here.\n```\nx = 1", "One is here."),
        ("| a | b |\n| c | d |\n| e", "| a | b |\n| c | d |"),
        ("今天天气很好。我们去公", "今天天气很好。"),
        ("यह पहला है। यह दूस", "यह पहला है।"),
        ("วันนี้อากาศดี ไปเที่", "วันนี้อากาศดี"),
        ("It costs $5", ""),
        ("", ""),
        (" \n", ""),
        ("...", ""),
    ],
)
def test_an_unfinished_sentence_at_the_end_is_left_out(text: str, kept: str) -> None:
    """So are headings and announcements of which nothing comes."""
    assert whole_sentences(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\n A headline without a full stop ", "A headline without a full stop."),
        ("価格は三百円です", "価格は三百円です。"),
        ("यह पहला है", "यह पहला है।"),
        ("วันนี้อากาศดี ไปเที่ยวกัน", "วันนี้อากาศดี ไปเที่ยวกัน"),
        ("- One\n- Two", "- One\n- Two"),
        ("One is here. And then the", "One is here."),
        ("We met Mr. Smith Jr.", "We met Mr. Smith Jr."),
        ("It ends with…", "It ends with…"),
        ("Here are the points:", ""),
        ("# Title", ""),
        ("3.", ""),
        ("", ""),
    ],
)
def test_what_a_model_ended_by_itself_ends_on_a_finished_sentence(text: str, kept: str) -> None:
    """One that is alone gets its full stop; a fragment behind others is left out."""
    assert finished(text) == kept
