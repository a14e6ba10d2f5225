"""consumer: take challengers from their queue, one at a time, and carry each evaluation to its end once.

Durable in this order, so that a death in between repeats and never doubles:

    <job>/evaluation.json   the decision, and where the log ended when it was made
    the champion            promoted, unless it is or was already; another's promotion meanwhile: evaluate again
    sbom/                   where it comes from, and what passed
    metrics.jsonl           the row, unless it is there since
    patches/LINEAGE/ID.*    the same bytes each time
    processed/ok/           the job is done

Whoever claims a job that has an evaluation.json of after its last `retried` goes on from there. A challenger whose
bundle or patch is not what it says is rejected; nothing of it is run. Trouble of ours defers it uncounted.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from repairlab import chain, config, journal
from repairlab.champions import Champions, Lost
from repairlab.config import Settings
from repairlab.documents import Challenger, Champion, Course, Decision, MetricsRow, decode, encode, patch_bytes
from repairlab.documents.tournament import TOOLGEN
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.evaluate import letter, push
from repairlab.evaluate.contest import Contest, Outcome
from repairlab.journal import Event, Priority
from repairlab.metrics import MetricsLog, Position
from repairlab.serving import Service, decided
from repairlab.spool import Claim, Policy, Spool

CHALLENGERS = "challenger_*.json"
MAX_CHALLENGER = 1 << 26
KEPT = "evaluation.json"
TRIES = 3  # evaluations in a row that another promotion overtook


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The decided evaluation of a job, as it is kept with it."""

    outcome: Outcome
    at: datetime
    champion: str | None
    since: Position


def queue(root: Path, settings: Settings) -> Spool:
    """Return the challengers' queue of a state directory; their documents hold whole patches."""
    policy = replace(Policy.from_settings(settings.queue), max_bytes=MAX_CHALLENGER)
    return Spool(config.challengers_dir(root), pattern=CHALLENGERS, policy=policy)


class Consumer:
    """Evaluates the challengers of one state directory."""

    def __init__(self, root: Path, settings: Settings, service: Service) -> None:
        self._champions = Champions(config.champions_dir(root))
        self._log = MetricsLog(config.metrics_dir(root))
        self._root, self._settings, self._contest = root, settings, Contest(settings, root, service.beat)
        self._at_once = service.at_once  # a block that a signal may end: while tests run, nothing is half written

    def carry(self, claim: Claim) -> None:
        """Evaluate one challenger, or go on where an earlier owner died; leave it."""
        challenger = decode(claim.read(), Challenger, max_bytes=MAX_CHALLENGER)
        for _ in range(TRIES):
            made = decided(claim, KEPT, Evaluation) or self._evaluated(claim, challenger)
            champion, row = self._champion(claim.id, challenger, made), _row(claim.id, challenger, made)
            encode(row)  # what cannot be written down is refused before anybody is promoted
            try:
                stands = made.outcome.decision is Decision.PROMOTED and self._champions.promote(champion)
            except Lost:
                claim.put(KEPT, b"null")  # decided over a champion that stands no more
                continue
            self._tell(claim, challenger, champion, made, stands=stands)
            return
        claim.defer(self._settings.queue.backoff_base_s, "other promotions overtook each evaluation")

    def _evaluated(self, claim: Claim, challenger: Challenger) -> Evaluation:
        rival = self._champion_of(challenger.lineage)
        with self._at_once():
            outcome = self._contest.evaluate(challenger, rival)
        made = Evaluation(
            outcome=outcome, at=datetime.now(UTC), champion=None if rival is None else rival.id, since=self._log.end()
        )
        claim.put(KEPT, msgspec.json.encode(made))
        return made

    def _champion_of(self, lineage: str) -> Champion | None:
        try:
            return self._champions.current(lineage)
        except BadInput as error:  # its record is gone or damaged, for which no challenger is to blame
            fix = f"put the record back, or remove the link champions/{lineage}/current"
            raise TemporaryFailure(f"the champion of {lineage} cannot be read: {error.message}", fix=fix) from None

    def _tell(
        self, claim: Claim, challenger: Challenger, champion: Champion, made: Evaluation, *, stands: bool
    ) -> None:
        """Write down everywhere what was decided, and end the job; no letter where an operator has demoted it since."""
        outcome = made.outcome
        self._chain(claim.id, challenger, made)
        self._log.append(_row(claim.id, challenger, made), since=made.since)
        if stands:
            path = letter.write(config.patches_dir(self._root), champion, challenger, outcome)
            if path is not None and self._settings.evaluator.push:
                push.pushed(self._settings.evaluator.push, path, champion)
        kind = Event.CHALLENGER_PROMOTED if stands else Event.CHALLENGER_EVALUATED
        priority = Priority.NOTICE if stands else Priority.INFO
        gone = [f"{len(outcome.retired)} files of the champion's tests hold no more"] if outcome.retired else []
        told = f"{outcome.decision}: {'; '.join([outcome.why, *gone, *(outcome.missed(challenger.targets) or ())])}"
        message = f"{challenger.lineage}: {told}"
        fields = {"JOB_ID": claim.id, "LINEAGE": challenger.lineage, "OUTCOME": outcome.decision}
        claim.finish(decision=outcome.decision, reason=told[:500], fitness=outcome.fitness)
        journal.event(kind, message, priority=priority, **fields)

    def _chain(self, job_id: str, challenger: Challenger, made: Evaluation) -> None:
        """Write down where the challenger comes from, and which tests of a correct one passed."""
        directory, outcome = config.sbom_dir(self._root), made.outcome
        link = chain.Link(
            sha256=challenger.bundle_sha256, lineage=challenger.lineage, at=made.at,
            patch=patch_bytes(challenger.patch, challenger.patch_encoding),
            parent_sha256=challenger.parent_sha256 if challenger.patch else None, failing=challenger.failing,
            strategy=challenger.repair_strategy,
        )  # fmt: skip
        chain.record(directory, link, by=job_id)
        if outcome.runs and outcome.fitness > 0 and outcome.components.stability == 1:
            chain.attest(directory, link, passed=outcome.passed, runs=outcome.runs, sandbox=outcome.sandbox, by=job_id)

    @staticmethod
    def _champion(job_id: str, challenger: Challenger, made: Evaluation) -> Champion:
        outcome = made.outcome
        return Champion(
            id=job_id, at=made.at, lineage=challenger.lineage, parent=made.champion, bundle_dir=challenger.bundle_dir,
            bundle_sha256=challenger.bundle_sha256, parent_sha256=challenger.parent_sha256, patch=challenger.patch,
            fitness=outcome.fitness, components=outcome.components, strategy=challenger.repair_strategy,
            pattern_id=challenger.repair_pattern_id, spec_path=challenger.spec_path, median_ms=outcome.median_ms,
            tests=challenger.tests, patch_encoding=challenger.patch_encoding, path=_course(challenger),
            benchmark=challenger.benchmark,
        )  # fmt: skip


def _course(challenger: Challenger) -> Course:
    """Return how a row came about: what toolgen made and nothing has repaired is plain synthesis."""
    made = challenger.source == TOOLGEN and not challenger.meta_repair
    return Course.SYNTHESIS if made else Course.CHALLENGER


def _row(job_id: str, challenger: Challenger, made: Evaluation) -> MetricsRow:
    outcome, unknown = made.outcome, challenger.unknown
    known: dict[str, Any] = {
        key: str(unknown[key])[:200] for key in ("domain", "spec_id", "impl_style") if unknown.get(key)
    }
    return MetricsRow(
        timestamp=made.at, id=job_id, path=_course(challenger), lineage=challenger.lineage, fitness=outcome.fitness,
        components=outcome.components, decision=outcome.decision, meta_repair=challenger.meta_repair,
        bundle_sha256=challenger.bundle_sha256, parent_sha256=challenger.parent_sha256, median_ms=outcome.median_ms,
        benchmark=outcome.benchmark, benchmark_ms=outcome.benchmark_ms, missed=outcome.missed(challenger.targets),
        spec_path=challenger.spec_path, epoch=challenger.original_epoch, repair_strategy=challenger.repair_strategy,
        repair_pattern_id=challenger.repair_pattern_id, repair_attempts=challenger.repair_attempts, **known,
    )  # fmt: skip
