"""Prose within a token budget is whole sentences or is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.tasks.budget import whole_sentences, words_within
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion


def cut(text: str) -> Completion:
    """An answer that reached its budget of 40 tokens."""
    return Completion(text, "m", "length", 9, 40, 0, 0, 0)


def finished(text: str) -> Completion:
    """An answer that the model itself ended."""
    return Completion(text, "m", "stop", 9, 4, 0, 0, 0)


def test_a_finished_answer_is_kept_as_it_is() -> None:
    """An answer that the model ended needs no end mark and loses only white space around it."""
    assert whole_sentences(finished("\n A headline without a full stop ")) == (
        "A headline without a full stop"
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two! Three is cu", "One. Two!"),
        ("One? Two.", "One? Two."),
        ("It costs 3.50 and then", None),
        ('He said "No." Then he', 'He said "No."'),
        ("(An aside.) And th", "(An aside.)"),
        ("See a.b for more. See c.", "See a.b for more. See c."),
        ("Line one.\nLine tw", "Line one."),
        ("Wait… what", None),
        ("完了。 次の", "完了。"),
    ],
)
def test_a_cut_answer_keeps_its_whole_sentences(text: str, kept: str | None) -> None:
    """A sentence ends at . ! ? and closing quotes, before white space or the end."""
    if kept is None:
        with pytest.raises(InvalidOutput):
            whole_sentences(cut(text))
    else:
        assert whole_sentences(cut(text)) == kept


@pytest.mark.parametrize("text", ["今天天气很好。我们去公", "終わりました。次の文"])
def test_a_cut_answer_keeps_sentences_of_scripts_without_spaces(text: str) -> None:
    """Chinese and Japanese put no space after their full stop."""
    assert whole_sentences(cut(text)).endswith("。")


def test_an_answer_without_one_whole_sentence_names_the_budget() -> None:
    """Half a sentence is not a summary; the caller learns which budget was too small."""
    with pytest.raises(InvalidOutput, match="no whole sentence within 40 tokens") as refused:
        whole_sentences(cut("The very long sentence that"))
    assert "more tokens" in refused.value.hint


@pytest.mark.parametrize("text", ["", " \n\t "])
@pytest.mark.parametrize("completion", [cut, finished])
def test_an_empty_text_is_refused(text: str, completion: Callable[[str], Completion]) -> None:
    """How the answer ended makes no difference."""
    with pytest.raises(InvalidOutput, match="wrote nothing"):
        whole_sentences(completion(text))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_the_beginning_of_a_cut_answer_is_kept(text: str) -> None:
    """The kept text is a prefix that ends a sentence; nothing is invented or moved."""
    kept = whole_sentences(cut(f"One. {text}"))
    assert f"One. {text}".startswith(kept)
    assert kept.rstrip("\"'”’)]")[-1] in ".!?。！？"


@settings(deadline=None)
@given(st.text("abc \n", max_size=80))
def test_a_refusal_quotes_nothing_of_the_answer(text: str) -> None:
    """The model's words stay out of exceptions."""
    with pytest.raises(InvalidOutput) as refused:
        whole_sentences(cut(f"geheim{text}"))
    assert not any("geheim" in part for part in refused.value.args)


@settings(deadline=None)
@given(st.integers(5, 10_000))
def test_the_prompt_asks_for_fewer_words_than_the_budget_has_tokens(tokens: int) -> None:
    """English has about 0.75 words per token, which leaves room to finish the sentence."""
    assert 3 <= words_within(tokens) <= 0.75 * tokens


def test_the_prompt_asks_for_some_words_at_any_budget() -> None:
    """Asking for "at most 0 words" would be nonsense."""
    assert words_within(1) == 3
