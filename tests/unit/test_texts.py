"""Pieces of texts, budgets of tokens, and texts of any length made short in steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.tasks.texts.budget import tokens_if_fits, words_within, write_within
from local_llm_service.tasks.texts.long_text import condensed_text
from local_llm_service.tasks.texts.pieces import pieces
from local_llm_service.tasks.texts.room import Instructions
from local_llm_service.tasks.texts.sentences import whole_sentences
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import REPEATABLE, Completion, Prompt
from tests.doubles.said import Said

FRAGMENTS = [
    "# Head\n",
    "\n\n",
    "A sentence here. ",
    "- item\n",
    "```\nx = 1. \n\ny\n```\n",
    "| a | b |\n",
    "今天。",
    "\r\n",
    "x" * 30,
    "\x00",
    "> q\n",
]


def cut(text: str) -> Completion:
    """A completion that reached its budget, of a token for each word."""
    return Completion(text, "m", "length", 9, len(text.split()), 0, 0, 0)


def ended(text: str) -> Completion:
    """A completion that the model itself ended."""
    return Completion(text, "m", "stop", 9, len(text.split()), 0, 0, 0)


def asked(words: int, max_tokens: int) -> Prompt:
    """A prompt that says how many words are wanted."""
    return Prompt(({"role": "user", "content": str(words)},), max_tokens)


# --- pieces -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join), st.integers(12, 90))
def test_pieces_are_the_text_and_fit(text: str, most: int) -> None:
    """Nothing is lost between two pieces."""
    found = pieces(text, lambda piece: len(piece) <= most)
    assert "".join(found) == text
    assert all(0 < len(piece) <= most for piece in found)


def test_pieces_end_at_the_borders_of_a_text() -> None:
    """Sections before paragraphs, those before sentences; code and rows of tables stay whole."""
    code = "```py\na = 1\n\nb = 2\n```\n\n"
    text = f"# One\n\nFirst. Second.\n\n# Two\n\n{code}| a | b |\n|---|---|\n| c | d |\n"
    found = pieces(text, lambda piece: len(piece) <= 40)
    assert found[0] == "# One\n\nFirst. Second.\n\n"
    assert any(code.strip() in piece for piece in found)
    assert any(piece.strip().endswith("| c | d |") for piece in found)
    assert pieces("A b c. D e f. G h i.", lambda piece: len(piece) < 8) == [
        "A b c. ",
        "D e f. ",
        "G h i.",
    ]


def test_a_text_that_grew_at_its_end_keeps_its_first_pieces() -> None:
    """Their steps are found again, whatever was added."""
    text = "".join(f"Paragraph {number} says so. And more.\n\n" for number in range(60))
    before = pieces(text, lambda piece: len(piece) <= 300)
    after = pieces(text + "# New\n\nIt goes on." * 30, lambda piece: len(piece) <= 300)
    assert after[: len(before) - 1] == before[:-1]


def test_a_word_that_does_not_fit_is_parted() -> None:
    """Splitting comes to an end at single characters."""
    assert pieces("ab", lambda piece: len(piece) < 2) == ["a", "b"]


# --- budgets ------------------------------------------------------------------------------------


def test_a_text_that_fits_is_kept_and_asked_for_once() -> None:
    """One that the model ended within its budget."""
    ask = Said(ended("All is said here."))
    written = write_within(ask, asked, 40)
    assert (written.text, written.tokens, ask.steps) == ("All is said here.", 4, 1)
    assert ask.prompts[0].max_tokens == 40


def test_a_server_that_counts_nothing_writes_no_text_of_no_tokens() -> None:
    """What is told of the text is then what showed that it fits."""
    ask = Said(replace(ended("All is said here."), completion_tokens=0))
    assert write_within(ask, asked, 40).tokens >= 4


def test_a_cut_text_is_asked_for_again_shorter_by_what_its_words_took() -> None:
    """At most twice: with ever fewer words, counted by the tokens of the text that was cut."""
    long = "One is here. Two is there. Three is far. And a word that goes on"
    ask = Said(*[Completion(long, "m", "length", 9, 40, 0, 0, 0)] * 2, ended("Short it is."))
    assert write_within(ask, asked, 40).text == "Short it is."
    wanted = [int(prompt.messages[0]["content"]) for prompt in ask.prompts]
    assert wanted[0] == words_within(40)
    assert wanted[0] > wanted[1] > wanted[2]
    assert wanted[1] <= 0.7 * len(long.split())


def test_a_text_that_stays_too_long_is_cut_to_whole_sentences() -> None:
    """After the third try, to the most that fits of the longest."""
    ask = Said(cut("A one. B tw"), cut("A one here. B two here. C thr"), cut("A. B"))
    written = write_within(ask, asked, 12)
    assert (written.text, written.tokens, ask.steps) == ("A one here. B two here.", 6, 3)


def test_a_text_that_has_more_tokens_than_were_generated_is_cut() -> None:
    """What is read again may be tokens in another way; the count decides."""
    ask = Said(ended("One two three. Four five six. Seven eight."))
    assert write_within(ask, asked, 6).text == "One two three. Four five six."


def test_a_model_that_repeats_itself_is_asked_in_another_way() -> None:
    """At the first try nothing is punished: a penalty is one on copying, too."""
    loop = cut("The sky is blue today. " * 9 + "The sky")
    ask = Said(loop, ended("The sky is blue today. It is cold."))
    assert write_within(ask, asked, 20).text == "The sky is blue today. It is cold."
    assert [prompt.sampling.frequency_penalty > 0 for prompt in ask.prompts] == [False, True]
    assert ask.prompts[0].messages == ask.prompts[1].messages


def test_what_a_model_said_before_it_repeated_itself_is_an_answer() -> None:
    """If it does so again."""
    loop = cut("The sky is blue today. " * 9 + "The sky")
    assert write_within(Said(loop, loop), asked, 20).text == "The sky is blue today."


def stopped(text: str) -> InvalidOutput:
    """What an engine raises of a text that it has stopped."""
    error = InvalidOutput("the model repeated itself without end")
    error.text, error.tokens = text, len(text.split())
    return error


class Stopped(Said):
    """An engine that stops the first texts."""

    def __init__(self, errors: list[InvalidOutput], *completions: Completion) -> None:
        super().__init__(*completions)
        self._errors = errors

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        if not self._errors:
            return super().complete(prompt, shared=shared)
        self.prompts.append(prompt)
        raise self._errors.pop(0)


def test_a_text_that_the_engine_stopped_is_asked_for_in_another_way() -> None:
    """And if it is stopped again, what was said before is an answer."""
    error = stopped("The sky is blue today. na na na")
    ask = Stopped([error], ended("It is cold."))
    assert write_within(ask, asked, 20).text == "It is cold."
    assert [prompt.sampling.frequency_penalty > 0 for prompt in ask.prompts] == [False, True]
    assert write_within(Stopped([error] * 2), asked, 20).text == "The sky is blue today."
    with pytest.raises(InvalidOutput, match="no whole sentence"):
        write_within(Stopped([stopped("na na na")] * 3), asked, 20)


@pytest.mark.parametrize("texts", [["and so on"] * 3, [""] * 3])
def test_without_a_sentence_that_fits_it_is_invalid(texts: list[str]) -> None:
    """Half a sentence is no answer; the error quotes nothing of it."""
    with pytest.raises(InvalidOutput) as refused:
        write_within(Said(*map(cut, texts)), asked, 5)
    assert not any("and so" in part for part in refused.value.args)


@pytest.mark.parametrize("text", ["", "Here are the points:"])
def test_a_model_that_says_nothing_is_asked_in_another_way(text: str) -> None:
    """For as many words as before: it was not too much."""
    ask = Said(ended(text), ended("It rains."))
    assert write_within(ask, asked, 20).text == "It rains."
    assert ask.prompts[0].messages == ask.prompts[1].messages


def test_any_sentence_that_fits_is_better_than_none() -> None:
    """Only when not even one sentence fits is there no answer."""
    long = "This one has more words than fit here. Yes it does. And th"
    assert write_within(Said(cut(long), cut(long), cut(long)), asked, 4).text == "Yes it does."


def test_a_point_after_a_digit_where_a_text_was_cut_ends_no_sentence() -> None:
    """Of 5.75 a cut may leave 5."""
    ask = Said(*[cut("The price is known. It is $5.")] * 3)
    assert write_within(ask, asked, 9).text == "The price is known."


def test_a_bound_saves_the_count() -> None:
    """No text has many more tokens than bytes; only where these are too many, anybody counts."""

    class Uncounted(Said):
        def count(self, text: str) -> int:
            raise AssertionError("counted")

    assert tokens_if_fits(Uncounted(), "abc", 5) == 5
    assert tokens_if_fits(Said(), "a long word", 3) == 3
    assert tokens_if_fits(Said(), "four words are here", 3) is None


SENTENCES = [
    "Anna has 3 cats. ",
    "Yes. ",
    "- one\n",
    "今天。",
    "and so",
    "Dr. ",
    "x" * 20,
    "\n\n",
    "One is here. ",
]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(SENTENCES), max_size=12).map("".join), st.booleans()),
        min_size=3,
        max_size=3,
    ),
    st.integers(1, 30),
)
def test_no_budget_is_broken(said: list[tuple[str, bool]], tokens: int) -> None:
    """Whatever a model writes: within the budget and finished, or InvalidOutput."""
    completions = [cut(text) if is_cut else ended(text) for text, is_cut in said]
    ask = Said(*completions)
    try:
        written = write_within(ask, asked, tokens)
    except InvalidOutput:
        return
    assert 0 < ask.count(written.text) <= tokens
    assert written.tokens <= tokens
    assert ask.steps <= 3
    assert whole_sentences(f"{written.text}\n") == written.text or written.text.endswith(".")


# --- texts of any length ------------------------------------------------------------------------

READING = Instructions(
    system="You read.",
    whole=lambda words: f"whole {words}",
    part=lambda words: f"part {words}",
    join=lambda words: f"join {words}",
    last=lambda words: f"last {words}",
    sampling=REPEATABLE,
)


class Model(Said):
    """Writes a sentence with the first and the last word of what it reads, by words as tokens.

    Refuses what does not fit into its context, where `misjudges` makes estimates too low.
    """

    def __init__(self, *, misjudges: int = 1, **limits: int) -> None:
        super().__init__(**limits)
        self._misjudges = misjudges

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        self.prompts.append(prompt)
        self.shared.append(shared)
        read = sum(self.count(one["content"]) for one in prompt.messages)
        if read + prompt.max_tokens > self.context_tokens:
            raise ContextOverflow(f"{read} and {self.context_tokens}")
        words = prompt.messages[-1]["content"].rpartition('"""')[0].split()[1:]
        return Completion(
            f"From {words[0][:9]} to {words[-1][-9:]}.", "m", "stop", read, 4, 0, 0, 0
        )

    def likely_tokens(self, text: str) -> int:
        return self.count(text) // self._misjudges

    @property
    def closings(self) -> list[str]:
        """Why the model was asked, step by step."""
        return [
            prompt.messages[-1]["content"].rpartition("\n")[2].split()[0] for prompt in self.prompts
        ]


def paragraphs(number: int) -> str:
    """A text of 30 words in each paragraph, all words different."""
    return "".join(
        " ".join(f"w{one}x{word}" for word in range(30)) + ".\n\n" for one in range(number)
    )


def read_by(ask: Model) -> str:
    """All of the text that the model was given, in order."""
    return " ".join(prompt.messages[-1]["content"] for prompt in ask.prompts)


def test_a_text_that_fits_into_a_step_is_read_in_one() -> None:
    """Nobody is told of steps, and nothing is looked up."""
    ask = Model()
    written = condensed_text(ask, paragraphs(3), READING, 40)
    assert written.text == "From w0x0 to w2x29.."
    assert (ask.closings, ask.shared, ask.told) == (["whole"], [False], [])
    assert ask.prompts[0].spoken


@pytest.mark.parametrize("misjudges", [1, 2, 3])
@pytest.mark.parametrize("number", [12, 25, 200])
def test_every_word_of_a_long_text_is_read(number: int, misjudges: int) -> None:
    """Each step within the context, estimates may be wrong; the last one alone is spoken."""
    ask = Model(context_tokens=300, misjudges=misjudges)
    text = paragraphs(number)
    written = condensed_text(ask, text, READING, 40)
    read = read_by(ask)
    assert all(word in read for word in text.split())
    assert written.tokens <= 40
    assert [prompt.spoken for prompt in ask.prompts if prompt.spoken] in ([], [True])
    assert ask.told == sorted(ask.told, key=lambda told: told[0])
    assert all(done < total for done, total, _ in ask.told)


def test_a_text_without_any_border_is_read_all_the_same() -> None:
    """One word of as many characters as a meeting has."""

    class Characters(Model):
        def count(self, text: str) -> int:
            return -(-len(text) // 4)

    ask = Characters(context_tokens=512)
    condensed_text(ask, "x" * 20_000, READING, 40)
    parts = [prompt.messages[-1]["content"].count("x") for prompt in ask.prompts]
    assert sum(parts) >= 20_000


def test_notes_are_joined_until_the_last_step_can_read_them() -> None:
    """As a tree; its steps are shared, but for the last."""
    ask = Model(context_tokens=300)
    condensed_text(ask, paragraphs(400), READING, 4)
    assert set(ask.closings) == {"part", "join", "last"}
    assert ask.closings[-1] == "last"
    assert ask.shared == [True] * (len(ask.shared) - 1) + [False]
    assert {phase for _, _, phase in ask.told} == {"reading", "joining"}


def test_notes_that_fit_into_the_budget_are_the_answer() -> None:
    """Another step could only lose some of it."""
    ask = Model(context_tokens=300)
    written = condensed_text(ask, paragraphs(12), READING, 100)
    assert set(ask.closings) == {"part"}
    assert written.text.count("From") == len(ask.prompts)


def test_a_text_that_grew_at_its_end_finds_its_first_steps() -> None:
    """Their prompts are the same."""
    before, after = Model(context_tokens=300), Model(context_tokens=300)
    condensed_text(before, paragraphs(40), READING, 40)
    condensed_text(after, paragraphs(60), READING, 40)
    parts = [
        prompt for prompt, why in zip(before.prompts, before.closings, strict=True) if why == "part"
    ]
    assert after.prompts[: len(parts) - 1] == parts[:-1]


@pytest.mark.parametrize("context_tokens", [1, 60, 150])
def test_a_context_without_room_is_an_error_with_its_numbers(context_tokens: int) -> None:
    """Nobody is asked."""
    ask = Model(context_tokens=context_tokens)
    with pytest.raises(ContextOverflow, match=f"{context_tokens} tokens"):
        condensed_text(ask, paragraphs(10), READING, 40)
    assert ask.prompts == []


def test_a_budget_larger_than_the_context_is_a_bound_all_the_same() -> None:
    """It comes to an end, and what is written is shorter."""
    ask = Model(context_tokens=300, max_output_tokens=2048)
    assert condensed_text(ask, paragraphs(300), READING, 2000).tokens <= 2000
    small = Model(context_tokens=300)
    assert condensed_text(small, paragraphs(4), READING, 299).text.count("From") == 1
    assert (small.closings, small.prompts[0].max_tokens < 150) == (["whole"], True)


def test_a_model_that_refuses_everything_ends_the_job() -> None:
    """A part is halved until it is a character, not for ever."""

    class Refuses(Model):
        def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
            self.prompts.append(prompt)
            raise ContextOverflow("too long")

    ask = Refuses(context_tokens=300)
    with pytest.raises(ContextOverflow):
        condensed_text(ask, paragraphs(20), READING, 40)
    assert len(ask.prompts) < 40


def test_a_part_of_which_the_model_writes_nothing_is_not_lost() -> None:
    """The sentences that it begins with stand for it."""

    class Silent(Model):
        def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
            made = super().complete(prompt, shared=shared)
            return made if "last" in self.closings[-1] else replace(made, text="")

    ask = Silent(context_tokens=300)
    text = "The key is 4711. " + paragraphs(20)
    condensed_text(ask, text, READING, 40)
    assert "4711" in ask.prompts[-1].messages[-1]["content"]


def test_a_text_stands_between_marks_that_it_does_not_hold() -> None:
    """So it cannot end them by itself."""
    prompt = READING.prompt('Say """ or """" here.', "whole 9", 9)
    content = prompt.messages[-1]["content"]
    assert content.startswith('"""""\n')
    assert content.count('"""""') == 2
