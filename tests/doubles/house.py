"""A route between two models that say what a test has written down: `small` at home, and `large`,
which leaves the house."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local_llm_service import tasks
from local_llm_service.tasks.answer import Route
from local_llm_service.tasks.request import JobRequest, Limits, parse
from local_llm_service.tasks.routing.choice import Known
from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.tasks.routing.routed_run import Parts, RoutedRun
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetModel, FleetRoute
from local_llm_service.worker.prompt import Completion, Prompt
from tests.doubles.said import Said

LOCAL, REMOTE = "small", "large"
LIMITS = Limits(
    max_prompt_chars=400_000, max_messages=50, max_schema_depth=9, max_output_tokens=999
)

Scripted = Completion | Exception


def wrote(text: str, *logprobs: float, model: str = LOCAL, **more: Any) -> Completion:
    """What a model writes: 50 tokens read, 20 written, with the probabilities of some of them."""
    tokens = tuple({"token": "t", "logprob": one} for one in logprobs)
    fields = {"finish_reason": "stop", "prompt_tokens": 50, "completion_tokens": 20, **more}
    return Completion(
        text, model, load_seconds=0, prompt_seconds=1, generation_seconds=2, logprobs=tokens,
        **fields,
    )  # fmt: skip


class Model(Said):
    """Steps over one model. It says each in turn, or raises it."""

    def __init__(self, name: str, script: list[Scripted]) -> None:
        super().__init__()
        self.model, self._script = name, script
        #: The texts that readers got late, and how often the engine's deaths were forgiven.
        self.late: list[str] = []
        self.acquittals = 0

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        self.prompts.append(prompt)
        said = self._script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def tell(self, prompt: Prompt, text: str) -> None:
        """See EngineSteps."""
        if prompt.spoken:
            self.late.append(text)

    def acquit(self) -> None:
        """See EngineSteps."""
        self.acquittals += bool(self.prompts)


class House:
    """One run of a route. `small` and `large` are the scripts of its models; a model that says more
    than that is a fault of the test.

    `router` tells simple from complex; `up` are the models whose engines answer.
    """

    def __init__(
        self,
        small: list[Scripted] | None = None,
        large: list[Scripted] | None = None,
        *,
        router: Callable[[str], Any] = lambda _: Verdict(False, 0.1),
        up: tuple[str, ...] = (LOCAL, REMOTE),
        contexts: Mapping[str, int] | None = None,
        capabilities: Capabilities | None = None,
        remote_capabilities: Capabilities | None = None,
        local_scopes: frozenset[str] = frozenset(),
        remote: str | None = REMOTE,
        **route: Any,
    ) -> None:
        self._scripts = {LOCAL: small or [], REMOTE: large or []}
        self.asked: list[Model] = []
        far = FleetEngine(
            "far", "openai_compatible", "u", leaves_the_house=True, models=(FleetModel(REMOTE),)
        )
        self.fleet = Fleet(
            (FleetEngine("here", "ollama", "u", models=(FleetModel(LOCAL),)), far),
            (FleetRoute("auto", LOCAL, remote, **route),),
            local_scopes,
        )
        sizes = {LOCAL: 8192, REMOTE: 128_000, **(contexts or {})}
        of = {
            LOCAL: capabilities or Capabilities(),
            REMOTE: remote_capabilities or Capabilities(),
        }
        self.known = Known(sizes.__getitem__, of.__getitem__, up.__contains__, lambda: router)
        #: The models whose engines were looked at as they had not answered.
        self.looks: list[str] = []
        parts = Parts(self.fleet, self.known, self._steps_of, self.looks.append)
        self.run = RoutedRun(self.fleet.routes[0], parts)

    def _steps_of(self, name: str) -> Model:
        self.asked.append(Model(name, self._scripts[name]))
        return self.asked[-1]

    @property
    def sent(self) -> list[str]:
        """The models that got a prompt, in order."""
        return [one.model for one in self.asked for _ in one.prompts]

    def prompts_of(self, name: str) -> list[Prompt]:
        """What a model was asked."""
        return [prompt for one in self.asked if one.model == name for prompt in one.prompts]

    @property
    def late(self) -> list[str]:
        """What readers got late."""
        return [text for one in self.asked for text in one.late]

    def told(self) -> tuple[str, str, list[tuple[str, str]]]:
        """The route as the answer says it: chosen, why, and what was tried before."""
        found: Route | None = self.run.route
        assert found is not None
        return found.chosen, found.reason, [(one.model, one.reason) for one in found.tried]

    def generate(self, prompt: str = "Why?", **options: Any) -> Any:
        """The text of a `generate`."""
        return self.ask("generate", prompt=prompt, **options)["text"]

    def ask(self, kind: str, **call: Any) -> Mapping[str, Any]:
        """The fields of an answer to a call of any kind."""
        task = getattr(tasks, kind)
        request: JobRequest = parse(task.kind.request, [], call, LIMITS)
        return self.run.fields(task.kind, request)
