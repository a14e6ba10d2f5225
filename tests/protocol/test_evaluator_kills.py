"""repairlab-evaluator killed at every system call by which it changes its state directory, and then started again.

The steps are those of recorded runs, as the kernel sees them. What is costly, running tests in sandboxes, is done once:
who dies after the decision goes on from a copy of the state directory as it was then; who dies before it has a
challenger to judge that is the champion already, which takes no run.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tracing import Step, Traced, deaths, traced
from world import RIGHT, World

from repairlab.champions import Champions
from repairlab.evaluate.consumer import CHALLENGERS
from repairlab.evaluate.main import main
from repairlab.metrics import MetricsLog
from repairlab.spool import Policy, Spool, State
from repairlab.spool.policy import TERMINAL

KEPT = "evaluation.json"
PAUSE_S = "0.001"  # before an orphan is taken up again
OURS = (".lock",)  # of what begins with a dot: all else is somebody's leftover
pytestmark = pytest.mark.timeout(300)


class Hall(World):
    """A state directory that can be copied; its bundles stay where they were made."""

    def __init__(self, root: Path, *roots: Path) -> None:
        super().__init__(root)
        self.roots = (root / "bundles", *roots)

    def copy(self, path: Path) -> "Hall":
        shutil.copytree(self.root, path, symlinks=True)
        return Hall(path, *self.roots)

    def run(self, kill: Callable[[list[Step]], bool] = lambda _: False, *, tear: bool = False) -> Traced:
        """The evaluator's `main` in a child of its own, to its end or to its death."""
        return traced(partial(_evaluator, self.root, self.roots), self.root, kill, tear=tear)

    def killed(self, number: int, *, tear: bool) -> None:
        """The same, dying before that step, or half way through it."""
        assert self.run(lambda steps: len(steps) > number, tear=tear).code is None

    def restart(self) -> None:
        """Start the evaluator again until every job has ended: one that finds an orphan lets it rest for a moment."""
        for _ in range(10):
            assert self.run().code == 0
            if {job.state for job in self.queue.jobs()} <= set(TERMINAL):
                return
        pytest.fail(f"the job never ended: {list(self.queue.jobs())}")

    def left(self) -> dict[str, bytes]:
        """What an evaluation leaves for others: path → content, or where a link points to."""
        parts = ("champions", "patches", "sbom", "metrics")
        paths = [path for part in parts for path in sorted((self.root / part).rglob("*")) if not path.is_dir()]
        return {
            str(path.relative_to(self.root)): os.fsencode(os.readlink(path)) if path.is_symlink() else self._text(path)
            for path in paths
        }

    def _text(self, path: Path) -> bytes:
        """A file's content without its directory's name, and without lines of logs that were torn and written again."""
        text = path.read_bytes().replace(os.fsencode(self.root), b"ROOT")
        lines = text.splitlines(keepends=True)
        return b"".join(line for line in lines if parsed(line)) if path.suffix == ".jsonl" else text


def _evaluator(root: Path, roots: tuple[Path, ...]) -> int:
    os.environ.update(
        REPAIRLAB_ROOT=str(root),
        REPAIRLAB_BUNDLES_ROOTS=json.dumps(list(map(str, roots))),
        REPAIRLAB_QUEUE_SETTLE_S="0",
        REPAIRLAB_QUEUE_BACKOFF_BASE_S=PAUSE_S,
        REPAIRLAB_QUEUE_BACKOFF_CAP_S=PAUSE_S,
    )
    return main(["--once"])


@pytest.fixture(scope="module")
def decided(tmp_path_factory) -> Hall:
    """A first challenger, evaluated by somebody who died as soon as his decision was durable."""
    hall = Hall(tmp_path_factory.mktemp("decided") / "state")
    hall.hand_in(RIGHT)
    hall.run(lambda steps: [step.call[:6] for step in steps[:-1] if step.path.endswith(f"/{KEPT}")] == ["rename"])
    policy = Policy(recovery_base_s=0.001)  # due before anybody has copied it
    assert [found.what for found in Spool(hall.queue.path, pattern=CHALLENGERS, policy=policy).reap()] == ["orphaned"]
    assert list(hall.root.glob(f"spool/challengers/deferred/*/{KEPT}"))
    return hall


@pytest.fixture(scope="module")
def promoted(decided, tmp_path_factory) -> tuple[Hall, Traced]:
    """The same, carried to its end by somebody whom nobody disturbed; and his steps."""
    hall = decided.copy(tmp_path_factory.mktemp("promoted") / "state")
    return hall, hall.run()


def test_killed_at_every_step_after_its_decision_an_evaluator_leaves_what_an_undisturbed_one_leaves(
    decided, promoted, tmp_path
):
    undisturbed, recorded = promoted
    assert recorded.code == 0
    told = [f"{step.call} {step.path}" for step in recorded.steps]
    for needed in ("champion.json", "rename champions/line/current", "write metrics/metrics.jsonl", ".cdx.json",
                   ".intoto.json", "rename patches/line", "processed/ok"):  # fmt: skip
        assert any(needed in step for step in told), f"no step is about {needed}: {told}"
    seen = Counter()
    for number, tear in deaths(recorded.steps):
        hall = decided.copy(tmp_path / f"{number}-{tear}")
        hall.killed(number, tear=tear)
        hall.restart()
        assert_one(hall, damaged=tear and recorded.steps[number].path == "metrics/metrics.jsonl")
        assert hall.left() == undisturbed.left(), told[number]
        seen[tear] += 1
    assert seen[False] == len(recorded.steps)
    assert seen[True] > 5


def parsed(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def assert_one(hall: World, *, damaged: bool = False) -> None:
    """One row, one decision, one champion, one patch, one job; nothing stray."""
    ids = [job.id for job in hall.queue.jobs()]
    rows = hall.rows()
    assert sorted(rows) == sorted(ids)
    assert MetricsLog(hall.root / "metrics").sums().damaged == damaged
    winners = [job for job, decision in rows.items() if decision == "promoted"]
    assert [hall.champion()] == winners
    assert sorted(path.name for path in (hall.root / "patches/line").iterdir()) == [
        f"{winners[0]}.md",
        f"{winners[0]}.patch",
    ]
    assert {job.state for job in hall.queue.jobs()} == {State.OK}
    assert hall.queue.fsck() == []
    assert not list(hall.queue.path.glob("tmp/*"))
    names = [str(path.relative_to(hall.root)) for path in hall.root.rglob(".*") if path.name not in OURS]
    assert names == [], "something stray is left"


def test_killed_at_every_step_from_its_claim_on_an_evaluator_decides_once(promoted, tmp_path):
    before, _ = promoted
    before = before.copy(tmp_path / "before")
    before.made["bundles"] = 100
    before.hand_in(RIGHT)
    recorded = before.copy(tmp_path / "recorded").run()
    assert recorded.code == 0
    told = [f"{step.call} {step.path}" for step in recorded.steps]
    for needed in ("active/", KEPT, "metrics/metrics.jsonl", "processed/ok"):
        assert any(needed in step for step in told), f"no step is about {needed}: {told}"
    for number, tear in deaths(recorded.steps):
        hall = before.copy(tmp_path / f"{number}-{tear}")
        hall.killed(number, tear=tear)
        hall.restart()
        assert_one(hall, damaged=tear and recorded.steps[number].path == "metrics/metrics.jsonl")
        assert Counter(hall.rows().values()) == {"promoted": 1, "not_better": 1}


def test_what_is_demoted_while_its_evaluator_is_dead_is_not_promoted_by_the_next_one(decided, promoted, tmp_path):
    _, recorded = promoted
    demoted = 0
    for number in range(len(recorded.steps)):
        hall = decided.copy(tmp_path / str(number))
        hall.killed(number, tear=False)
        if hall.champion() is None:
            continue
        with Champions(hall.root / "champions").demotion("line", None, lambda: (1, 0)):
            pass
        letters = {path.name for path in hall.root.glob("patches/line/*.*")}
        hall.restart()
        assert hall.champion() is None, recorded.steps[number]
        assert list(hall.rows().values()) == ["promoted"], "so it was, for a while"
        assert {path.name for path in hall.root.glob("patches/line/*.*")} == letters
        demoted += 1
    assert demoted > 20


def test_control_without_looking_for_the_row_a_death_after_it_doubles_it(decided, promoted, tmp_path, monkeypatch):
    _, recorded = promoted
    written = next(number for number, step in enumerate(recorded.steps) if step.call == "fdatasync")
    hall = decided.copy(tmp_path / "state")
    hall.killed(written, tear=False)
    monkeypatch.setattr(MetricsLog, "_has", lambda *_: False)
    hall.restart()
    with pytest.raises(AssertionError):
        assert_one(hall)
