"""The state machine with which hypothesis makes schedules and plays them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.schedules.jobs import QUESTIONS
from tests.schedules.moves import Moves
from tests.schedules.rules import Rules
from tests.schedules.site import Site
from tests.schedules.worker import CHORES

_FEW = st.integers(0, 5)
_QUESTION = st.integers(0, len(QUESTIONS) - 1)
_TWO = st.integers(0, 1)
_STUMBLES = st.sampled_from(("lose", "crash", "again", "cancel"))
#: The actor that began last; all of its steps.
_LAST, _TO_THE_END = -1, 0
#: Rare moves. One rule covers all of them, because hypothesis plays each rule equally often.
_TROUBLES = ("again", "again", "lose", "lose", "expire", "late", "drain", "pull", "start", "note")


@dataclass
class Tally:
    """The number of schedules and moves in a run."""

    schedules: int = 0
    moves: Counter[str] = field(default_factory=Counter)


class Schedules(RuleBasedStateMachine):
    """One schedule: moves in any order, then the end. `last` can be played again."""

    open_site: Callable[[], Site]
    tally: Tally
    #: The schedule of the last fault.
    last: str = ""

    def __init__(self) -> None:
        super().__init__()
        self._site = type(self).open_site()
        self._moves, self._rules = Moves(self._site), Rules(self._site)
        self._site.after_step = self._rules.after_step
        self._played: list[str] = []
        self._failed = False

    def _play(self, word: str, *numbers: int) -> None:
        self._played.append(" ".join(map(str, (word, *numbers))))
        self._guard(lambda: self._moves.play(word, *numbers))

    def _guard(self, what: Callable[[], Any]) -> None:
        try:
            what()
        except BaseException:
            self._failed = True
            type(self).last = ", ".join(self._played)
            raise

    @precondition(lambda self: self._moves.can("ask"))
    @rule(what=_QUESTION, how=_FEW)
    def ask(self, what: int, how: int) -> None:
        self._play("ask", what, how)

    @precondition(lambda self: self._moves.can("ask"))
    @rule(what=_QUESTION, how=_FEW)
    def ask_and_wait(self, what: int, how: int) -> None:
        self._play("ask", what, how)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("ask"))
    @rule(how=_FEW, which=_FEW)
    def ask_the_same(self, how: int, which: int) -> None:
        """Submit a job that leads or joins a running one."""
        self._play("ask", 0, how)
        self._play("step", _LAST, _TO_THE_END)
        self._play("take", which)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("ask"))
    @rule(what=_QUESTION, how=_FEW, steps=_TWO, then=_STUMBLES)
    def ask_and_stumble(self, what: int, how: int, steps: int, then: str) -> None:
        """Submit a job, with an accident to the caller or the job midway."""
        self._play("ask", what, how)
        self._play("step", _LAST, 1 + steps)
        self._play(then, _LAST)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("take"))
    @rule(which=_FEW)
    def take(self, which: int) -> None:
        self._play("take", which)

    @precondition(lambda self: self._moves.can("take"))
    @rule(which=_FEW)
    def take_and_run(self, which: int) -> None:
        self._play("take", which)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("step"))
    @rule(which=_FEW, steps=st.integers(1, 3))
    def step(self, which: int, steps: int) -> None:
        self._play("step", which, steps)

    @precondition(lambda self: self._moves.can("step"))
    @rule(which=_FEW)
    def run(self, which: int) -> None:
        self._play("step", which, _TO_THE_END)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW, then=_TWO)
    def finish(self, which: int, then: int) -> None:
        self._play("finish", which, then)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW)
    def answer(self, which: int) -> None:
        self._play("finish", which, 1)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW, how=st.integers(0, 2), then=_TWO)
    def fail(self, which: int, how: int, then: int) -> None:
        self._play("fail", which, how, then)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW)
    def die(self, which: int) -> None:
        """Let an engine die under a job, which then runs again, alone."""
        self._play("fail", which, 2, 1)
        self._play("take", which)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("cancel"))
    @rule(which=_FEW, steps=st.sampled_from((0, 0, 1)))
    def cancel(self, which: int, steps: int) -> None:
        self._play("cancel", which)
        self._play("step", _LAST, steps)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW, who=_FEW, steps=st.sampled_from((0, 0, 1)))
    def leave(self, which: int, who: int, steps: int) -> None:
        self._play("leave", which, who)
        self._play("step", _LAST, steps)

    @precondition(lambda self: self._moves.can("finish") and self._moves.can("ask"))
    @rule(which=_FEW, steps=_TWO, how=_FEW)
    def leave_and_ask(self, which: int, steps: int, how: int) -> None:
        """Cancel a running job as its caller, and ask the same again."""
        self._play("leave", which, 0)
        self._play("step", _LAST, steps)
        self._play("ask", 0, how)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("crash"))
    @rule(which=_FEW, how=_TWO, last=_TWO)
    def crash(self, which: int, how: int, last: int) -> None:
        self._play("crash", which, how, last)

    @precondition(lambda self: self._moves.can("chore"))
    @rule(which=_FEW, what=st.integers(0, len(CHORES) - 1))
    def chore(self, which: int, what: int) -> None:
        self._play("chore", which, what)

    @precondition(lambda self: self._moves.can("timer"))
    @rule(which=_FEW)
    def timer(self, which: int) -> None:
        self._play("timer", which)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("finish"))
    @rule(which=_FEW, who=_FEW, steps=st.sampled_from((0, 0, 1, 2)))
    def late(self, which: int, who: int, steps: int) -> None:
        """Let the deadline of a running or a joined job pass; a reaper sees it."""
        self._play("late_run", which, who)
        self._play("chore", which, CHORES.index("expire"))
        self._play("step", _LAST, steps)

    @precondition(lambda self: self._moves.can("expire"))
    @rule(which=_FEW)
    def expire(self, which: int) -> None:
        """Let a lease expire; a reaper sees it."""
        self._play("expire", which)
        self._play("chore", which + 1, CHORES.index("reap"))
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("wake"))
    @rule(which=_FEW)
    def wake(self, which: int) -> None:
        self._play("wake")
        self._play("chore", which, CHORES.index("wake"))

    @precondition(lambda self: self._moves.can("jobs"))
    @rule(which=_FEW, other=_FEW)
    def lack_and_take(self, which: int, other: int) -> None:
        """Remove the model beside a worker, or bring it back; a worker looks for a job."""
        self._play("lack", which)
        self._play("take", other)
        self._play("step", _LAST, _TO_THE_END)

    @precondition(lambda self: self._moves.can("wait"))
    @rule(which=_FEW, steps=st.sampled_from((0, 0, 1, 2)))
    def wait_over(self, which: int, steps: int) -> None:
        self._play("wait_over")
        self._play("chore", which, CHORES.index("unserved"))
        self._play("step", _LAST, steps)

    @precondition(lambda self: self._moves.can("jobs"))
    @rule(word=st.sampled_from(_TROUBLES), which=_FEW)
    def trouble(self, word: str, which: int) -> None:
        self._play(word, which)

    def teardown(self) -> None:
        try:
            if not self._failed:
                self._guard(self._rules.at_the_end)
        finally:
            self._site.close()
            self.tally.schedules += 1
            self.tally.moves.update(self._moves.made)
