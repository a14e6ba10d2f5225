"""maker: carry a spec to its end: a tool that passes, or a handoff of one that does not yet.

Effects are named after the spec's job: publishing them again after a crash finds them done. `spec_path` of the result
names the copy of the spec in the tool's own bundle, which stays where it is.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from repairlab import config, journal
from repairlab.config import Settings
from repairlab.documents import Challenger, Handoff, HandoffMetrics, Strategy, decode, encode
from repairlab.documents.specs import Spec
from repairlab.documents.tournament import TOOLGEN as SOURCE
from repairlab.journal import Event
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.bundle import BundleLimits, Snapshot, make_durable, snapshot
from repairlab.spool import Claim, Policy, Spool
from repairlab.spool.disk import remove_tree
from repairlab.toolgen import bundle
from repairlab.toolgen.model import Model, NotYet
from repairlab.toolgen.retrieval import retrieved
from repairlab.toolgen.synthesis import Body, synthesised
from repairlab.toolgen.wishes import Wish, wish
from repairlab.trial.runs import Run, Trial

PATTERN = "spec*.json"


def queue(root: Path, settings: Settings) -> Spool:
    """Return the queue of specs of a state directory."""
    return Spool(config.specs_dir(root), pattern=PATTERN, policy=Policy.from_settings(settings.queue))


@dataclass(frozen=True)
class Made:
    """A tool that was tried: its body, how its tests ran, the pattern that it was made of."""

    body: Body
    run: Run
    pattern: str | None


class Maker:
    """Makes the tools of one state directory."""

    def __init__(
        self, root: Path, settings: Settings, at_once: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._root, self._settings, self._at_once = root, settings, at_once
        self._sandbox = open_sandbox(settings.sandbox)
        self._model = Model(root, settings.llm)
        policy = Policy.from_settings(settings.queue)
        self._repair = Spool(config.queue_dir(root), policy=policy)
        self._challengers = Spool(config.challengers_dir(root), pattern="challenger_*.json", policy=policy)

    def carry(self, claim: Claim) -> None:
        """Make the tool of one spec and publish it, or put the spec off until a model has answered."""
        spec = decode(claim.read(), Spec)
        wanted = wish(spec)
        try:
            with self._at_once():
                made = self._made(claim, wanted)
        except NotYet as why:
            claim.defer(why.pause_s, str(why))
            return
        frozen = self._frozen(config.bundles_dir(self._root) / f"spec-{claim.id}", wanted, made.body)
        path = frozen.path / bundle.SPEC
        if made.run.passed:
            self._challenge(claim, spec, frozen, path, made)
            outcome = f"a tool, {made.body.how}"
        else:
            self._hand_in(claim, spec, frozen, path, made)
            good, total = made.run.counts
            outcome = f"to be repaired: {good} of {total} tests pass"
        claim.finish(reason=outcome, how=made.body.how)
        journal.event(Event.TOOL_MADE, f"{spec.id}: {outcome}", JOB_ID=claim.id, LINEAGE=claim.own(spec.id))

    def _made(self, claim: Claim, wanted: Wish) -> "Made":
        """Return the first tool that passes, else the one with the most tests right; NotYet: a model may answer."""
        tried: list[Made] = []
        for pattern, body in self._bodies(claim, wanted):
            tried.append(Made(body, self._run(wanted, body), pattern))
            if tried[-1].run.passed:
                return tried[-1]
        return max(tried, key=lambda made: made.run.counts[0])  # synthesis always yields one

    def _bodies(self, claim: Claim, wanted: Wish) -> Iterator[tuple[str | None, Body]]:
        """Yield (pattern, body): once a model has been asked its answers, before another search."""
        asked = self._model.concerns(claim)
        if asked:
            yield from self._answers(claim, wanted)
        yield from retrieved(wanted, config.patterns_dir(self._root))
        yield None, synthesised(wanted, self._settings.toolgen.search_s)
        if not asked:
            yield from self._answers(claim, wanted)

    def _answers(self, claim: Claim, wanted: Wish) -> Iterator[tuple[None, Body]]:
        answers = self._model.answers(claim, wanted)
        if answers is not None:
            claim.note("model", reason=answers.told)
            yield from ((None, body) for body in answers.bodies)

    def _run(self, wanted: Wish, body: Body) -> Run:
        entries = tuple((name, "f", text.encode()) for name, text in bundle.files(wanted, body).items())
        limits = SandboxLimits.from_settings(self._settings.sandbox, wall_s=self._settings.evaluator.wall_s)
        return Trial(self._sandbox, limits, entries).run()

    def _frozen(self, place: Path, wanted: Wish, body: Body) -> Snapshot:
        """Return the tool, frozen; what a death leaves at `place` is replaced when the spec is served again."""
        store = config.bundles_dir(self._root)
        limits = BundleLimits(self._settings.bundles.max_files, self._settings.bundles.max_bytes)
        try:
            frozen = snapshot(bundle.written(wanted, body, place), roots=[store], store=store, limits=limits)
        finally:
            with suppress(FileNotFoundError):
                remove_tree(str(place))
        make_durable(frozen.path)
        return frozen

    def _challenge(self, claim: Claim, spec: Spec, frozen: Snapshot, path: Path, made: Made) -> None:
        more = {"spec_id": spec.id, "domain": spec.domain, "impl_style": made.body.style}
        challenger = Challenger(
            ts=time.time(), source=SOURCE, bundle_dir=str(frozen.path), spec_path=str(path), lineage=claim.own(spec.id),
            original_epoch=spec.epoch, original_fitness=None, repair_strategy=Strategy.NOOP, repair_attempts=0,
            repair_pattern_id=made.pattern, repair_details=f"made from its spec: {made.body.how}",
            bundle_sha256=frozen.sha256, parent_sha256=frozen.sha256, meta_repair=False, patch="",
            idempotency_key=f"spec-{claim.id}", submitter=claim.other,
            unknown={key: value for key, value in more.items() if value},
        )  # fmt: skip
        self._challengers.create()
        self._challengers.publish(encode(challenger), f"challenger_spec-{claim.id}.json")

    def _hand_in(self, claim: Claim, spec: Spec, frozen: Snapshot, path: Path, made: Made) -> None:
        good, total = made.run.counts
        share = good / total if total else 0.0
        handoff = Handoff(
            bundle_dir=str(frozen.path), source=SOURCE, spec_path=str(path), epoch=spec.epoch,
            lineage=claim.own(spec.id), reason="tests_failed",
            metrics=HandoffMetrics(correctness=math.floor(1e6 * share) / 1e6, fitness=0.0),
            impl_style=made.body.style, idempotency_key=f"spec-{claim.id}",
        )  # fmt: skip
        self._repair.create()
        self._repair.publish(encode(handoff), f"handoff-spec-{claim.id}.json")
