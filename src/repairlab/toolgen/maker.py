"""maker: carry a spec to its end: a tool that passes, or a handoff of one that does not yet.

Durable in this order, so that a death in between repeats and never doubles:

    bundles/SHA256      the tool; `spec_path` of the result names the copy of the spec in it
    <job>/tool.json     the result: another search may find another tool, and would say another time
    challengers, repair the result, named after the spec's job and the tool: publishing it again finds it done
    processed/ok/       the job is done
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from repairlab import config, journal
from repairlab.config import Settings
from repairlab.documents import Challenger, Handoff, HandoffMetrics, Strategy, decode, encode
from repairlab.documents.specs import Spec
from repairlab.documents.tournament import TOOLGEN as SOURCE
from repairlab.errors import BadInput
from repairlab.journal import Event
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.bundle import BundleLimits, Snapshot, make_durable, snapshot
from repairlab.serving import Service, decided
from repairlab.spool import Claim, Policy, Spool
from repairlab.spool.disk import remove_tree
from repairlab.toolgen import bundle
from repairlab.toolgen.model import Model, NotYet
from repairlab.toolgen.retrieval import retrieved
from repairlab.toolgen.synthesis import Body, synthesised
from repairlab.toolgen.wishes import Wish, wish
from repairlab.trial.runs import Run, Trial

PATTERN = "spec*.json"
KEPT = "tool.json"


def queue(root: Path, settings: Settings) -> Spool:
    """Return the queue of specs of a state directory."""
    return Spool(config.specs_dir(root), pattern=PATTERN, policy=Policy.from_settings(settings.queue))


@dataclass(frozen=True)
class Made:
    """A tool that was tried: what was wanted, its body, how its tests ran, the pattern that it was made of."""

    wish: Wish
    body: Body
    run: Run
    pattern: str | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a spec: the document for the next queue, and what the job's history shall say."""

    at: datetime
    passed: bool
    bundle: str
    name: str
    document: str
    outcome: str
    how: str


class Maker:
    """Makes the tools of one state directory."""

    def __init__(self, root: Path, settings: Settings, service: Service) -> None:
        self._root, self._settings, self._at_once = root, settings, service.at_once
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
            result = self._known(claim) or self._result(claim, spec, wanted)
        except NotYet as why:
            claim.defer(why.pause_s, str(why))
            return
        spool = self._challengers if result.passed else self._repair
        spool.create()
        try:
            spool.publish(result.document.encode(), result.name)
        except BadInput:  # this very tool, from before a `retry`, or somebody's file: the key tells whose job it is
            spool.publish(result.document.encode())
        claim.finish(reason=result.outcome, how=result.how)
        journal.event(Event.TOOL_MADE, f"{spec.id}: {result.outcome}", JOB_ID=claim.id, LINEAGE=claim.own(spec.id))

    @staticmethod
    def _known(claim: Claim) -> "Result | None":
        """Return what an earlier owner has decided, unless the cleanup took the tool."""
        result = decided(claim, KEPT, Result)
        return result if result and Path(result.bundle).is_dir() else None

    def _result(self, claim: Claim, spec: Spec, wanted: Wish) -> "Result":
        """Make the tool, and keep what becomes of it with the job; NotYet: a model may answer."""
        with self._at_once():
            made = self._made(claim, wanted)
        frozen = self._frozen(config.bundles_dir(self._root) / f"spec-{claim.id}", wanted, made.body)
        path, (good, total) = frozen.path / bundle.SPEC, made.run.counts
        if made.run.passed:
            document, outcome = encode(_challenger(claim, spec, frozen, path, made)), f"a tool, {made.body.how}"
        else:
            document = encode(_handoff(claim, spec, frozen, path, made))
            outcome = f"to be repaired: {good} of {total} tests pass"
        result = Result(
            at=datetime.now(UTC), passed=made.run.passed, bundle=str(frozen.path), document=document.decode(),
            name=f"{'challenger_' if made.run.passed else 'handoff-'}{_key(claim, frozen)}.json", outcome=outcome,
            how=made.body.how,
        )  # fmt: skip
        claim.put(KEPT, msgspec.json.encode(result))
        return result

    def _made(self, claim: Claim, wanted: Wish) -> "Made":
        """Return the first tool that passes, else the one with the most tests right; NotYet: a model may answer."""
        tried: list[Made] = []
        for pattern, body in self._bodies(claim, wanted):
            tried.append(Made(wanted, body, self._run(wanted, body), pattern))
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


def _key(claim: Claim, frozen: Snapshot) -> str:
    """Return what a tool is known by: the same one again is the same job, another one that a retry finds is not."""
    return f"spec-{claim.id}-{frozen.sha256[:12]}"


def _challenger(claim: Claim, spec: Spec, frozen: Snapshot, path: Path, made: Made) -> Challenger:
    more = {"spec_id": spec.id, "domain": spec.domain, "impl_style": made.body.style}
    return Challenger(
        ts=time.time(), source=SOURCE, bundle_dir=str(frozen.path), spec_path=str(path), lineage=claim.own(spec.id),
        original_epoch=spec.epoch, original_fitness=None, repair_strategy=Strategy.NOOP, repair_attempts=0,
        repair_pattern_id=made.pattern, repair_details=f"made from its spec: {made.body.how}",
        bundle_sha256=frozen.sha256, parent_sha256=frozen.sha256, meta_repair=False, patch="",
        idempotency_key=_key(claim, frozen), submitter=claim.other, targets=spec.targets,
        benchmark=bundle.benchmark(made.wish),
        unknown={key: value for key, value in more.items() if value},
    )  # fmt: skip


def _handoff(claim: Claim, spec: Spec, frozen: Snapshot, path: Path, made: Made) -> Handoff:
    good, total = made.run.counts
    share = good / total if total else 0.0
    return Handoff(
        bundle_dir=str(frozen.path), source=SOURCE, spec_path=str(path), epoch=spec.epoch, lineage=claim.own(spec.id),
        reason="tests_failed", metrics=HandoffMetrics(correctness=math.floor(1e6 * share) / 1e6, fitness=0.0),
        impl_style=made.body.style, idempotency_key=_key(claim, frozen), targets=spec.targets,
        benchmark=bundle.benchmark(made.wish),
    )  # fmt: skip
