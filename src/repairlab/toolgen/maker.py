"""maker: carry a spec to its end: a tool that passes, or a handoff of one that does not yet.

Effects are named after the spec's job: publishing them again after a crash finds them done. `spec_path` of the result
names the copy of the spec in the tool's own bundle, which stays where it is.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from repairlab import config, journal
from repairlab.config import Settings
from repairlab.documents import Challenger, Handoff, HandoffMetrics, Strategy, decode, encode
from repairlab.documents.specs import Spec
from repairlab.journal import Event
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.bundle import BundleLimits, Snapshot, make_durable, snapshot
from repairlab.spool import Claim, Policy, Spool
from repairlab.toolgen import bundle
from repairlab.toolgen.retrieval import retrieved
from repairlab.toolgen.synthesis import Body, synthesised
from repairlab.toolgen.wishes import Wish, wish
from repairlab.trial.runs import Run, Trial

PATTERN = "spec*.json"
SOURCE = "repairlab-toolgen"


def queue(root: Path, settings: Settings) -> Spool:
    """Return the queue of specs of a state directory."""
    return Spool(config.specs_dir(root), pattern=PATTERN, policy=Policy.from_settings(settings.queue))


class Maker:
    """Makes the tools of one state directory."""

    def __init__(
        self, root: Path, settings: Settings, at_once: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._root, self._settings, self._at_once = root, settings, at_once
        self._sandbox = open_sandbox(settings.sandbox)
        policy = Policy.from_settings(settings.queue)
        self._repair = Spool(config.queue_dir(root), policy=policy)
        self._challengers = Spool(config.challengers_dir(root), pattern="challenger_*.json", policy=policy)

    def carry(self, claim: Claim) -> None:
        """Make the tool of one spec and publish it."""
        spec = decode(claim.read(), Spec)
        wanted = wish(spec)
        place = config.bundles_dir(self._root) / f"spec-{claim.id}"
        with self._at_once():
            body, run, pattern = self._made(wanted)
        frozen = self._frozen(bundle.written(wanted, body, place))
        path = frozen.path / bundle.SPEC
        if run.passed:
            self._challenge(claim, spec, frozen, path, pattern)
            outcome = f"a tool, {body.how}"
        else:
            self._hand_in(claim, spec, frozen, path, run)
            outcome = f"to be repaired: {body.share:.0%} of the examples come out right"
        claim.finish(reason=outcome, how=body.how)
        journal.event(Event.TOOL_MADE, f"{spec.id}: {outcome}", JOB_ID=claim.id, LINEAGE=spec.id)

    def _made(self, wanted: Wish) -> tuple[Body, Run, str | None]:
        """Return the first body that passes, else the last; how its tests ran; the pattern that it came from."""
        last: tuple[Body, Run, str | None] | None = None
        for pattern, body in self._bodies(wanted):
            run = self._run(wanted, body)
            if run.passed:
                return body, run, pattern
            last = body, run, None
        assert last is not None  # synthesis always yields one
        return last

    def _bodies(self, wanted: Wish) -> Iterator[tuple[str | None, Body]]:
        yield from retrieved(wanted, config.patterns_dir(self._root))
        yield None, synthesised(wanted, self._settings.toolgen.search_s)

    def _run(self, wanted: Wish, body: Body) -> Run:
        entries = tuple((name, "f", text.encode()) for name, text in bundle.files(wanted, body).items())
        limits = SandboxLimits.from_settings(self._settings.sandbox, wall_s=self._settings.evaluator.wall_s)
        return Trial(self._sandbox, limits, entries).run()

    def _frozen(self, place: Path) -> Snapshot:
        store = config.bundles_dir(self._root)
        limits = BundleLimits(self._settings.bundles.max_files, self._settings.bundles.max_bytes)
        frozen = snapshot(place, roots=[store], store=store, limits=limits)
        make_durable(frozen.path)
        return frozen

    def _challenge(self, claim: Claim, spec: Spec, frozen: Snapshot, path: Path, pattern: str | None) -> None:
        more = {"spec_id": spec.id, "domain": spec.domain, "impl_style": "synthesis"}
        challenger = Challenger(
            ts=time.time(), source=SOURCE, bundle_dir=str(frozen.path), spec_path=str(path), lineage=spec.id,
            original_epoch=spec.epoch, original_fitness=None, repair_strategy=Strategy.NOOP, repair_pattern_id=pattern,
            repair_attempts=0, repair_details="made from its spec", bundle_sha256=frozen.sha256,
            parent_sha256=frozen.sha256, meta_repair=False, patch="", idempotency_key=f"spec-{claim.id}",
            unknown={key: value for key, value in more.items() if value},
        )  # fmt: skip
        self._challengers.create()
        self._challengers.publish(encode(challenger), f"challenger_spec-{claim.id}.json")

    def _hand_in(self, claim: Claim, spec: Spec, frozen: Snapshot, path: Path, run: Run) -> None:
        good, total = run.counts
        share = good / total if total else 0.0
        handoff = Handoff(
            bundle_dir=str(frozen.path), source=SOURCE, spec_path=str(path), epoch=spec.epoch, lineage=spec.id,
            reason="tests_failed", metrics=HandoffMetrics(correctness=math.floor(1e6 * share) / 1e6, fitness=0.0),
            impl_style="synthesis", idempotency_key=f"spec-{claim.id}",
        )  # fmt: skip
        self._repair.create()
        self._repair.publish(encode(handoff), f"handoff-spec-{claim.id}.json")
