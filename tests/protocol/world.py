"""A state directory whose challengers the real repairlab-evaluator judges."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from repairlab.documents import Challenger, Strategy, encode
from repairlab.metrics import MetricsLog
from repairlab.repair.diff import unified
from repairlab.sandbox.bundle import BundleLimits, tree_hash
from repairlab.spool import Policy, Spool
from repairlab.trial.bundle import Bundle

PROGRAM = Path(__file__).resolve().parents[2] / "bin" / "repairlab-evaluator"
BROKEN = "def total(xs):\n    n = 1\n    for x in xs:\n        n += x\n    return n\n"
RIGHT = BROKEN.replace("n = 1", "n = 0")
SLOW = RIGHT.replace("    for", "    sum(range(4_000_000))\n    for")
TESTS = """from m import total

def test_none():
    assert total([]) == 0

def test_some():
    assert total([1, 2]) == 3
"""


class World:
    """A state directory, and what is handed to its evaluator."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = Spool(root / "spool/challengers", pattern="challenger_*.json", policy=Policy(settle_s=0))
        self.queue.create()
        self.made = Counter()

    def hand_in(self, after: str, before: str = BROKEN, tests: str | None = TESTS, files=(), named=(), **fields) -> str:
        """Publish a challenger whose patch turns `before` into `after`; return its job's id.

        `files` lie beside them (name → text), `named` are the tests that its document names.
        """
        self.made["bundles"] += 1
        bundle = self.root / "bundles" / str(self.made["bundles"])
        bundle.mkdir(parents=True)
        (bundle / "m.py").write_text(before)
        own = {} if tests is None else {"test_m.py": tests}
        for name, text in (own | dict(files)).items():
            (bundle / name).parent.mkdir(exist_ok=True)
            (bundle / name).write_text(text)
        read = Bundle.read(bundle, tests=[], editable=[], limits=BundleLimits())
        patch = unified({"m.py": (before.encode(), after.encode())}) if after != before else b""
        document = {
            "ts": time.time(), "source": "test", "bundle_dir": str(bundle), "spec_path": None, "lineage": "line",
            "original_epoch": None, "original_fitness": None, "repair_strategy": Strategy.HEURISTIC_MICROFIX,
            "repair_pattern_id": None, "repair_attempts": 3, "repair_details": "initial value at m.py:2",
            "bundle_sha256": read.sha256({"m.py": after.encode()}), "parent_sha256": tree_hash(bundle),
            "meta_repair": bool(patch), "patch": patch.decode(), "idempotency_key": f"k{self.made['bundles']}",
            "failing": ["test_m.py::test_none"], "tests": list(named),
        }  # fmt: skip
        return self.queue.publish(encode(Challenger(**(document | fields)))).id

    def program(self, *argv, **environ):
        env = {**os.environ, "REPAIRLAB_ROOT": str(self.root), "REPAIRLAB_QUEUE_SETTLE_S": "0",
               "REPAIRLAB_EVALUATOR_PAIRS": "8", **environ}  # fmt: skip
        return [sys.executable, str(PROGRAM), *argv], env

    def evaluate(self, **environ) -> subprocess.CompletedProcess[str]:
        argv, env = self.program("--once", **environ)
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return done

    def rows(self) -> dict[str, str]:
        """id → decision; each id once."""
        rows = [(row.id, str(row.decision)) for row in MetricsLog(self.root / "metrics").rows()]
        assert len(dict(rows)) == len(rows)
        return dict(rows)

    def champion(self) -> str | None:
        link = self.root / "champions/line/current"
        return os.readlink(link) if link.is_symlink() else None
