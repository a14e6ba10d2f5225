"""cleaning: a state directory whose jobs, bundles and challengers are as old as a test wants them."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from repairlab import config, documents
from repairlab.operate import pruning
from repairlab.operate.pruning import Place, carry_out, plan
from repairlab.sandbox.bundle import snapshot
from repairlab.spool import Clock, Policy, Spool

NOW = datetime(2026, 3, 20, 12, 0, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)


class Then(Clock):
    """A clock whose wall shows what a test sets; boots in between, so that only the wall tells ages."""

    def __init__(self, now: datetime = NOW) -> None:
        super().__init__()
        self.now = now

    def wall(self) -> float:
        return self.now.timestamp()


class World:
    """A state directory in which things can be made to have happened at any instant."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Then()
        self.repair, self.challengers = (self._queue(name) for name in ("repair", "challengers"))
        self.store = config.bundles_dir(root)
        self.store.mkdir()
        self._made = 0

    def _queue(self, name: str) -> Spool:
        pattern = {"repair": "handoff*.json", "challengers": "challenger_*.json"}[name]
        path = self.root / "spool" / name
        spool = Spool(path, pattern=pattern, policy=Policy(settle_s=0), clock=self.clock, random=lambda: 0.0)
        spool.create()
        return spool

    def place(self, now: datetime = NOW, **days: float) -> Place:
        return Place(self.root, self.repair, self.challengers, config.Cleanup(**days), now)

    def planned(self, kind: str = "", now: datetime = NOW, **days: float) -> set[str]:
        return {str(item.path) for item in plan(self.place(now, **days)) if kind in ("", item.kind)}

    def clean(self, now: datetime = NOW, **days: float) -> list[pruning.Removal]:
        place = self.place(now, **days)
        return list(carry_out(place, list(plan(place))))

    def bundle(self, *, unused_for: timedelta, content: str = "") -> Path:
        """A frozen bundle that was last used so long before NOW."""
        self._made += 1
        source = self.root.parent / f"source-{self._made}"
        source.mkdir()
        (source / "m.py").write_text(content or f"x = {self._made}\n")
        frozen = snapshot(source, roots=[source.parent], store=self.store)
        at = (NOW - unused_for).timestamp()
        os.utime(frozen.path, (at, at))
        return frozen.path

    def job(self, how: str, at: datetime, bundle: Path | str = "/srv/x") -> str:
        """A repair job that came into its state at an instant; its id."""
        self._made += 1
        self.clock.now = at
        document = documents.Handoff(bundle_dir=str(bundle), reason=f"job {self._made}")
        job = self.repair.publish(documents.encode(document))
        if how == "waiting":
            return job.id
        if how == "hold":
            return self.repair.hold(job.id).id
        for claim in self.repair.claims():
            with claim:
                if claim.id != job.id:
                    claim.hand_back("not this one")
                elif how == "ok":
                    claim.finish()
                elif how == "hard_fail":
                    claim.quarantine("exhausted")
                elif how == "rejected":
                    claim.reject("no")
                else:
                    claim.defer(3600.0, "later")
            if claim.id == job.id:
                return job.id
        raise AssertionError("the job was not ready")

    def challenger(self, key: str, bundle: Path, name: str | None = None) -> Path:
        """A challenger that waits; it arrived now."""
        digest = bundle.name
        document = documents.Challenger(
            ts=0, source="t", bundle_dir=str(bundle), spec_path=None, lineage="l", original_epoch=None,
            original_fitness=None, repair_strategy=documents.Strategy.HEURISTIC_MICROFIX, repair_pattern_id=None,
            repair_attempts=1, repair_details="", bundle_sha256=digest[::-1], parent_sha256=digest, meta_repair=True,
            patch="", idempotency_key=key,
        )  # fmt: skip
        return Path(self.challengers.publish(documents.encode(document), name or f"challenger_{key}.json").path)
