"""Whether the candidate may go on: its gates, and the live model on the same held-out rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipeline import live as lives
from pipeline.code import DATA_CODE, owners_code
from pipeline.lineage import split_by
from pipeline.live import LiveModel
from pipeline.progress import Say
from pipeline.step import Step
from pipeline.steps.data import table
from pipeline.steps.evaluate import Evaluate
from pipeline.steps.fit import Fit
from pipeline.steps.validate import Validate
from service.record import Answer
from training.comparison import Compared, compare, gated
from training.data import Data
from training.errors import TrainingError
from training.evaluate import Evaluation, evaluate, judged_at
from training.validation import Finding
from training.verdict import Live, Verdict, decide


@dataclass(frozen=True)
class Decision:
    """`failed`: a line for each gate that was missed. Live's evaluation comes without its frame."""

    verdict: Verdict
    failed: list[str]
    live: Live | None
    compared: list[Compared]
    findings: list[Finding]


class Compare(Step):
    name = "compare"
    calls = ("judge",)

    def requires(self) -> list[Step]:
        data = self.data
        return [table(self), Fit(data=data), Evaluate(data=data), Validate(data=data)]

    def parameters(self) -> Any:
        options, live = self.context.options, self.context.live
        gates = [gate.text for gate in options.gates]
        return [
            gates,
            options.margin,
            live and (live.name, live.deployed, live.manifest is not None),
        ]

    def make(self, say: Say, *inputs: Any) -> Decision:
        now, fitted, judged, findings = inputs
        options, live = self.context.options, self.context.live
        kept = now.data.take(fitted.held)
        candidate = judged.over(kept.frame)
        failed = [
            f"{gate.text} (reached {candidate.metrics[gate.metric]:.4g})"
            for gate in options.gates
            if not gate.passes(candidate.metrics)
        ]
        found: Live | None = None
        compared: list[Compared] = []
        if live:
            say("live answers the same rows", done=False)
            found, answers = self._live(live, kept, now.data, bool(fitted.held.all()))
            if found.evaluation:
                compared = self._compared(
                    kept, candidate, judged.answers, found.evaluation, answers
                )
        verdict = decide([] if options.smoke else failed, compared, findings, found)
        if verdict.status == "refused" and not failed and live and not live.deployed:
            # Only what is live must not be replaced by less.
            verdict = replace(verdict, status="undecided")
        say(verdict.status)
        return Decision(verdict, failed, _without_frame(found), compared, findings)

    def _live(
        self, model: LiveModel, kept: Data, data: Data, fitted: bool
    ) -> tuple[Live, list[Answer]]:
        """Return the live model, judged on the rows kept aside if it can answer them, and how."""
        options = self.context.options
        baseline = model.manifest.baseline if model.manifest else None
        try:
            if fitted:
                raise lives.NotComparable(
                    "this model came fitted, and nobody knows which rows it has seen"
                )
            self._refuse_learnt(model, kept)
            said = lives.answers(self.context.store, model, kept.frame)
            evaluation = evaluate(
                _Spoken(said),
                kept,
                said.answers,
                truth=data.truth,
                positive=options.positive,
                judge=options.judge,
            )
        except (lives.NotComparable, TrainingError) as error:
            return Live(model.version, model.name, None, str(error), baseline), []
        return Live(model.version, model.name, evaluation, baseline=baseline), said.answers

    def _refuse_learnt(self, live: LiveModel, kept: Data) -> None:
        """Raise NotComparable if live may have learnt from rows that are kept aside now."""
        run = live.made_by
        inputs = [item.name for item in live.manifest.inputs] if live.manifest else None
        split = split_by(self.context.options)
        same = (
            run is not None
            and {name: run.parameters.get(name) for name in split} == split
            and run.data_code == owners_code(DATA_CODE)
            and inputs in (None, [*map(str, kept.frame.columns)])
        )
        if not same:
            raise lives.NotComparable(
                "the data are made, or rows kept aside, in another way than for it, so it may have "
                "learnt from these rows"
            )

    def _compared(
        self,
        kept: Data,
        candidate: Evaluation,
        answers: list[Answer],
        live: Evaluation,
        live_answers: list[Answer],
    ) -> list[Compared]:
        options = self.context.options
        own = None
        if options.judge:
            own = (
                judged_at(options.judge, kept, answers),
                judged_at(options.judge, kept, live_answers),
            )
        metrics = gated(options.gates, candidate)
        return compare(
            candidate, live, metrics, options.margin, options.seed, own=own, group=kept.group
        )


def _without_frame(live: Live | None) -> Live | None:
    if live is None or live.evaluation is None:
        return live
    return replace(live, evaluation=replace(live.evaluation, frame=live.evaluation.frame.head(0)))


class _Spoken:
    """Stands for a model of another process: what it would say of the held-out rows is known."""

    def __init__(self, said: lives.Answers) -> None:
        if said.classes is not None:
            self.classes_ = said.classes
        if (probability := said.probability) is not None:
            self.predict_proba = lambda frame: probability
