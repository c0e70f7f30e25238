"""What steps make of a model server's counts: texts that are counted, and prompts that were cut."""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Sequence
from itertools import islice, product

import pytest

from local_llm_service.tasks.steps.counts import TokenCounts
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.testing.scripted_engine import ScriptedEngine
from local_llm_service.testing.scripted_run import Scripted, tokens
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.prompt import Completion, Message, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.tokens.book import TokenBook
from local_llm_service.worker.tokens.model_tokens import ModelTokens

WINDOW = 512
SYSTEM: Message = {"role": "system", "content": "You are terse, and you keep to what was said."}


class Server(ScriptedEngine):
    """A model server with a template: 20 tokens around a prompt's words; it may trim messages.

    `says_nothing` of the tokens of a prompt that it remembers. `drops`: it cuts as a server that
    leaves out older messages; `fills`: it reads the window full; `shifts`: it writes past it, too.
    """

    def __init__(self, *, trims: bool = False) -> None:
        super().__init__(["m"])
        self.context = WINDOW
        self.trims, self.says_nothing = trims, False
        self.drops = self.fills = self.shifts = False
        self.promised = Capabilities()

    @property
    def capabilities(self) -> Capabilities:
        """See Engine.capabilities."""
        return self.promised

    def complete(self, prompt: Prompt, **call: object) -> Completion:  # type: ignore[override]
        """See ScriptedEngine."""
        messages = prompt.messages
        if self.trims:
            messages = tuple({**one, "content": one["content"].strip()} for one in messages)
        if self.drops:
            messages = self._newest(messages)
        sent = dataclasses.replace(prompt, messages=messages)
        completion = super().complete(sent, **call)  # type: ignore[arg-type]
        read = 0 if self.says_nothing else completion.prompt_tokens + 20
        if self.fills and _size(messages) + 20 > self.context:
            read = self.context
        if self.shifts:
            read = min(read, WINDOW)
        return dataclasses.replace(completion, prompt_tokens=read)

    def _newest(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        kept = list(messages)
        while len(kept) > 2 and _size(kept) > self.context - 20:
            del kept[1]
        return tuple(kept)


class Asking(EngineSteps):
    """Steps that ask the server, as those of a worker do."""

    def __init__(self, server: Server, book: TokenBook | None = None) -> None:
        super().__init__(server, "m", Settings(), book or TokenBook())

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        return self.engine.complete(prompt, model="m", remaining_seconds=60)

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps."""
        raise AssertionError("nobody wants vectors")


def _size(messages: Sequence[Message]) -> int:
    return sum(len(tokens(one["content"])) for one in messages)


def prompt(*texts: str, max_tokens: int = 20) -> Prompt:
    """A conversation after the system's message."""
    roles = ("user", "assistant")
    turns = (Message(role=roles[n % 2], content=text) for n, text in enumerate(texts))
    return Prompt((SYSTEM, *turns), max_tokens)


def words(count: int) -> str:
    """So many words, each another, of letters that are tokens in threes."""
    letters = string.ascii_lowercase
    return " ".join(islice(map("".join, product(letters, repeat=3)), count))


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize(
    "text", ["", "one", "one two", "  one two", "one two \n", "\n\n", " ", "a\n\n b  c ", "a" * 40]
)
def test_a_count_is_of_the_text_alone(text: str, trims: bool) -> None:
    """Not of the template around it; white space at its end counts, whatever a template does."""
    counted, ends = Asking(Server(trims=trims)).count(text), text[-1:].isspace()
    assert len(tokens(text)) <= counted <= len(tokens(text)) + ends


#: As a byte-level tokenizer parts a text: a space goes with the word behind it.
_PARTS = re.compile(r" ?[^\s]+|\s+(?!\S)|\s+")


@pytest.mark.parametrize("trims", [False, True])
@pytest.mark.parametrize("text", ["one two", "  one", "\n one", "one ", "one  ", "one\n", " "])
def test_a_count_needs_no_luck_at_the_ends(text: str, trims: bool) -> None:
    """White space joins the line before a message, and a template may cut it off: one too many."""

    def evaluated(said: str) -> int:
        return 30 + len(_PARTS.findall("user\n" + (said.strip() if trims else said)))

    counts = TokenCounts(ModelTokens(), evaluated, lambda: WINDOW, lambda *_: None)
    over = counts.count(text) - len(_PARTS.findall(text))
    assert over == 0 or (trims and text[-1].isspace() and over == 1)


def test_a_count_that_is_refused_is_made_in_parts() -> None:
    """The estimate was too low."""

    def evaluated(said: str) -> int:
        if len(said) > 50:
            raise ContextOverflow(ContextOverflow.REFUSED)
        return 30 + len(said.split())

    counts = TokenCounts(ModelTokens(), evaluated, lambda: WINDOW, lambda *_: None)
    assert counts.count(" ".join(["ten letter"] * 40)) == 80


def test_a_count_is_known_afterwards_and_costs_the_job_what_it_took() -> None:
    """In this process; the template is measured once for each model."""
    server = Server()
    ask = Asking(server)
    assert [ask.count("one two three") for _ in range(3)] == [3, 3, 3]
    assert server.counted == ["one two three", "a"]
    assert ask.count("four five") == 2
    assert len(server.counted) == 3
    assert (ask.steps, ask.spent.completion_tokens) == (0, 3)
    assert ask.spent.prompt_tokens == (3 + 21) + (1 + 21) + (2 + 21)


@pytest.mark.parametrize("cuts", [False, True])
def test_a_text_that_is_longer_than_the_context_is_counted_in_parts(cuts: bool) -> None:
    """On the safe side, and also by a server that would cut it."""
    server = Server()
    server.cuts = cuts
    text = words(3000)
    assert 3000 <= Asking(server).count(text) <= 3010
    assert all(_size([{"role": "user", "content": one}]) < WINDOW for one in server.counted)


def test_a_server_that_does_not_count_gets_a_bound() -> None:
    """What it remembers of an earlier prompt it may leave out; too many is safe, none is not."""
    server = Server()
    server.says_nothing = True
    ask = Asking(server)
    assert ask.count("one two three") == ask.most_tokens("one two three")
    assert ask(prompt(words(440))).text  # the server refuses what is too long, so this is whole
    server.cuts, ask = True, Asking(server)
    assert ask(prompt(words(200))).text
    with pytest.raises(ContextOverflow, match="room for 512"):
        ask(prompt(words(700)))


def test_a_refused_prompt_has_both_numbers_and_teaches() -> None:
    """The others too, not only this job."""
    server, book = Server(), TokenBook()
    before = Asking(server, book).likely_tokens(words(100))
    with pytest.raises(ContextOverflow, match="710 tokens, room for 512"):
        Asking(server, book)(prompt(words(700)))
    assert Asking(server, book).likely_tokens(words(100)) < before


@pytest.mark.parametrize("text", ["Small wonder. " * 75, "ab" * 500])
def test_a_refusal_without_numbers_gets_them_and_teaches_at_least_that(text: str) -> None:
    """0.24 says only that a prompt was too long: the estimate was too low if it says otherwise."""
    server = Server()
    server.add(Scripted(error=ContextOverflow(ContextOverflow.REFUSED)), times=1)
    ask = Asking(server)
    with pytest.raises(ContextOverflow, match=r"about \d{3} tokens, room for 512") as found:
        ask(prompt(text))
    assert found.value.sizes is not None
    assert found.value.sizes[0] >= 513
    assert ask.likely_tokens(text) >= 500


@pytest.mark.parametrize("count", [450, 700, 5000])
def test_a_prompt_that_was_cut_in_silence_is_an_overflow(count: int) -> None:
    """To half of the window, with an answer of the rest; it names what was sent and what was read.

    A prompt that fits is answered by the same server.
    """
    server = Server()
    server.cuts, server.context = True, 400
    with pytest.raises(ContextOverflow, match="read only a part") as found:
        Asking(server)(prompt(words(count)))
    sent, read = found.value.sizes or (0, 0)
    assert (read, sent > read) == (220, True)
    assert Asking(server)(prompt(words(300))).finish_reason == "stop"


@pytest.mark.parametrize("count", [500, 900])
def test_a_prompt_that_was_cut_to_the_window_is_an_overflow(count: int) -> None:
    """0.24 reads exactly as many tokens as the window has."""
    server = Server()
    server.cuts = server.fills = True
    with pytest.raises(ContextOverflow, match="room for 512"):
        Asking(server)(prompt(words(count), max_tokens=1))


def test_a_prompt_that_was_cut_to_a_smaller_window_is_an_overflow() -> None:
    """A proxy may run the model with another one than it was asked for."""
    server = Server()
    server.cuts, server.context = True, 150
    server.context_tokens = lambda _: 8192  # type: ignore[method-assign]
    with pytest.raises(ContextOverflow, match="room for 95"):
        Asking(server)(prompt(words(350)))


def test_whole_prompts_teach() -> None:
    """So do answers. What a job learns, the next one sizes its prompts by."""
    server, book = Server(), TokenBook()

    def likely() -> int:
        return Asking(server, book).likely_tokens(words(100))

    before = likely()
    Asking(server, book)(prompt(words(300)))
    assert (after := likely()) < before
    server.add(Scripted((words(200),)), times=1)
    Asking(server, book)(prompt("Words, please.", max_tokens=400))
    assert book.of("m:latest").rates.likely_tokens(words(100)) < after


def test_a_conversation_whose_first_turns_were_left_out_is_an_overflow() -> None:
    """0.33 leaves out as few as it can (ctx_chat_long_history_default): 250 of 256 were read."""
    turns = [words(60)] * 9
    server = Server()
    server.drops = server.cuts = True
    with pytest.raises(ContextOverflow, match="read only a part"):
        Asking(server)(prompt(*turns, max_tokens=2))


@pytest.mark.parametrize("text", ["a" * 300 + " " * 5000 + "b", "\n" * 3000 + "x", "ha" * 2000])
def test_a_text_with_few_tokens_is_no_cut_prompt(text: str) -> None:
    """A suspicion is verified by counting before a job fails of it."""
    assert Asking(Server())(prompt(text)).prompt_tokens < 300


def test_only_what_may_have_been_cut_is_looked_into() -> None:
    """One question, once, whether the server cuts, for prompts that are near the window."""
    server = Server()
    ask = Asking(server)
    ask(prompt(words(50)))
    ask(prompt(words(200)))
    assert server.counted == []
    for _ in range(3):
        ask(prompt(words(440)))
    assert len(server.counted) == 1


def test_a_server_with_a_larger_window_than_it_was_asked_for_cuts_nothing() -> None:
    """Some servers take no `num_ctx`."""
    server = Server()
    server.context = 4000
    server.context_tokens = lambda _: WINDOW  # type: ignore[method-assign]
    ask = Asking(server)
    assert ask(prompt(words(900))).prompt_tokens == 930
    server.add(Scripted((words(300),)), times=1)
    assert ask(prompt(words(400), max_tokens=600)).completion_tokens == 300
    assert len(server.counted) == 1


@pytest.mark.parametrize(("asked", "said"), [(400, 300), (10, 690)])
def test_an_answer_that_went_past_the_window_is_an_overflow(asked: int, said: int) -> None:
    """A server that shifts its window forgets the beginning of the prompt meanwhile."""
    server = Server()
    server.add(Scripted((words(said),)), times=1)
    server.context, server.cuts, server.shifts = 10_000, True, True
    server.context_tokens = lambda _: WINDOW  # type: ignore[method-assign]
    with pytest.raises(ContextOverflow, match="730 tokens, room for 512"):
        Asking(server)(prompt(words(asked), max_tokens=700))


@pytest.mark.parametrize("promised", [
    Capabilities(counts_cheaply=False), Capabilities(counts=False, counts_cheaply=False)
])  # fmt: skip
def test_no_prompt_is_sent_just_to_be_counted_where_that_costs_money(
    promised: Capabilities,
) -> None:
    """Neither to count a text, nor to see whether a prompt was cut: a bound has to do."""
    server = Server()
    server.promised, server.cuts, server.fills = promised, True, True
    ask = Asking(server)
    assert ask.count("one two three") == ask.most_tokens("one two three")
    assert ask(prompt(words(700))).text
    assert len(server.asked) == 1
    assert server.counted == []


def test_an_answer_with_thoughts_teaches_no_count() -> None:
    """Its tokens are those of the thoughts, too: the next text would look too long."""
    ask = Asking(Server())
    thinking = Completion("m " * 150, "m", "stop", 30, 5000, 0, 0, 0)
    assert not ask._teaches(thinking)
    assert ask._teaches(dataclasses.replace(thinking, completion_tokens=150))


def test_an_engine_that_does_not_count_teaches_nothing() -> None:
    """Pieces of text are no tokens."""
    server = Server()
    server.promised = Capabilities(counts=False, counts_cheaply=False)
    assert not Asking(server)._teaches(Completion("m " * 150, "m", "stop", 0, 150, 0, 0, 0))
