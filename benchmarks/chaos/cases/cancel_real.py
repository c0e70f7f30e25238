"""Does what `cancel` does with the real model of the embedded Ollama: does it stop, and how soon?

The engine is watched as well as the slot: the next job's first chunk arrives only when the model is
free again. There is one slot; half of the cancels hit prompt evaluation, half the stream of chunks.
"""

from __future__ import annotations

import time

from benchmarks.chaos import judge
from benchmarks.chaos.cases.cancel import Cancelled, phase_measures, wrong_ends
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.load import Make
from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.report import Outcome, write_raw
from benchmarks.chaos.site import Plan, Site
from benchmarks.chaos.tap import Passage, Tap
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME

PATIENCE_SECONDS = 60.0
#: More jobs than cancels: the model ends some answers before they can be cancelled.
SPARE_JOBS = 10
STORY = "Tell a very long story about a lighthouse, with every detail. "
#: About 4000 tokens: seconds of prompt evaluation on two cores. Prompts differ from their first
#: word on, so that no earlier prompt's evaluation can be reused.
LONG = "The keeper climbed the stairs, counted the lamps and wrote the number down. " * 260


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    count = 3 if short else 10
    measures: list[Measure] = []
    engine = OllamaProcess(env={"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_CONTEXT_LENGTH": "8192"})
    with engine, Tap(engine.port) as tap:
        environment = {"OLLAMA_HOST": tap.host, "MODEL_NAME": MODEL_NAME}
        plan = Plan(redis_port, 20, slots=1, engines=1, environment=environment)
        with Site(plan) as site:
            site.supervisor.start(0)
            done: list[Cancelled] = []
            waits: dict[str, list[float]] = {}
            for phase, text in (("streaming", STORY), ("prompt", LONG)):
                found, waits[phase] = _play(site, tap, phase, text, count)
                measures += phase_measures(phase, found, count)
                free = judge.percentile(waits[phase], 95)
                measures.append(Measure(f"{phase}: call to a free model, p95", free, None, "s"))
                done += found
            measures.append(wrong_ends(site, done))
            outcome = Outcome("real", measures)
            site.keep = not outcome.kept
            events = [{"event": "cancel", "at": d.at, "job": d.job, "phase": d.phase} for d in done]
            write_raw("real", site, events + [_event(one) for one in tap.seen])
    return outcome


def _play(
    site: Site, tap: Tap, phase: str, text: str, count: int
) -> tuple[list[Cancelled], list[float]]:
    """Cancel the running job while another waits; in the end cancel the last waiting one too."""
    from local_llm_service.producers.service import cancel

    jobs = [site.submitter.submit(_asking(text)).ask.job]
    done: list[Cancelled] = []
    waits: list[float] = []
    for _ in range(count + SPARE_JOBS):
        if len(done) == count:
            break
        # The waiting job is always short: its first chunk shows that the model is free.
        following = site.submitter.submit(_asking("Say yes.")).ask.job
        victim = _passage(site, tap, jobs[-1])
        if phase == "streaming":
            site.until(lambda victim=victim: _flows(victim), PATIENCE_SECONDS)  # type: ignore[misc]
        else:
            site.run_for(0.3)
        if victim.ended is not None:  # the model had little to say: nothing is left to cancel
            cancel(following)
            jobs.append(site.submitter.submit(_asking(text)).ask.job)
            continue
        done.append(_cancel(site, tap, phase, victim, following))
        after = _passage(site, tap, following)
        site.until(lambda after=after: bool(after.chunks), PATIENCE_SECONDS)  # type: ignore[misc]
        waits.append(min(after.chunks, default=float("inf")) - done[-1].at)
        cancel(following)
        if len(done) < count:
            jobs.append(site.submitter.submit(_asking(text)).ask.job)
    return done, waits


def _flows(one: Passage) -> bool:
    return len(one.chunks) >= 5 or one.ended is not None


def _cancel(site: Site, tap: Tap, phase: str, victim: Passage, following: str) -> Cancelled:
    from local_llm_service.producers.service import cancel

    if victim.ended is not None:
        print(f"  {phase}: the job had ended before it was cancelled")
    told = time.monotonic()
    cancel(victim.job)
    returned = time.monotonic()
    after = _passage(site, tap, following)
    site.until(lambda: victim.ended is not None, PATIENCE_SECONDS)
    closed = victim.ended or float("inf")
    return Cancelled(
        phase=phase,
        job=victim.job,
        at=told,
        call_seconds=returned - told,
        closed_seconds=closed - told,
        idle_seconds=max(closed, after.began) - told,
        late_chunks=sum(at > told for at in victim.chunks),
    )


def _passage(site: Site, tap: Tap, job: str) -> Passage:
    """Return the job's request once it has arrived, or one that never began if it does not."""
    site.until(lambda: any(one.job == job for one in tap.seen), PATIENCE_SECONDS)
    return next((one for one in tap.seen if one.job == job), Passage(job, float("inf")))


def _asking(text: str) -> Make:
    return lambda job: Ask(job, 0.0, text=text)


def _event(one: Passage) -> dict[str, object]:
    return {
        "event": "passage",
        "at": one.began,
        "ended_at": one.ended,
        "job": one.job,
        "chunks": len(one.chunks),
    }
