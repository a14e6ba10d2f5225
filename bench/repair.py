#!/usr/bin/env python3
"""repair: how many tasks the agent repairs, how fast, and whether its patches say what the reference says.

    bench/repair.py --bundles DIR [--wall 20] [--only NAME …] [--every K] [--seed N] [--json FILE]

DIR holds one directory a task: bundle/, handoff_*.json, judge/test_full.py and judge/reference.py, where no repairer
looks (../shared/bench/make_bundles.py makes them from a JSONL file). For each task the real bin/repairlab-agent runs;
the first patch (and each of the others shown) is applied with git, then the judge's tests run on it inside the
sandbox. Prints a table with the machine; misses by cause.

    plausible   the agent says ok
    judged      top-1 passes the judge's tests
    same        top-1 is the reference, but for formatting (a floor under "correct": equal code is surely right)
    listed      one of the shown patches passes the judge
"""

import argparse
import ast
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from repairlab import config
from repairlab.repair.bundle import Bundle
from repairlab.repair.validation import ARGUMENTS, PlainRun, Setup, ask
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits


def attempt(task: Path, wall_s: float, out: Path) -> dict:
    """Run the agent on one task; return its telemetry."""
    handoff = json.loads(next(task.glob("handoff_*.json")).read_text())
    handoff["limits"] = {"wall_s": wall_s}
    (out / "handoff.json").write_text(json.dumps(handoff))
    command = [sys.executable, ROOT / "bin/repairlab-agent", "--handoff", out / "handoff.json", "--out", out]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    telemetry = json.loads(done.stdout) if done.stdout else {"ok": False, "reason": f"exit {done.returncode}"}
    return telemetry | {"wall_s": time.monotonic() - begun, "stderr": done.stderr.decode()[-500:]}


def patched(task: Path, diff: Path) -> Path:
    """Return a copy of the bundle with the patch applied by git."""
    copy = Path(tempfile.mkdtemp()) / "bundle"
    shutil.copytree(task / "bundle", copy)
    subprocess.run(["git", "apply", "-p1", diff], cwd=copy, check=True, env={**os.environ, "GIT_DIR": "/nonexistent"})
    return copy


def judged(task: Path, copy: Path) -> bool:
    """Run the judge's tests, and nothing else, in a fresh sandbox."""
    shutil.rmtree(copy / "tests", ignore_errors=True)
    shutil.copy(task / "judge/test_full.py", copy / "test_full.py")
    settings = config.load()
    bundle = Bundle.read(copy, tests=[], editable=[], limits=BundleLimits())
    limits = SandboxLimits.from_settings(settings.sandbox, wall_s=30)
    confined, _ = Setup(open_sandbox(settings.sandbox), limits, bundle, None, {}).start(None, 30)
    with confined:
        run = ask(confined, {"op": "pytest", "arguments": list(ARGUMENTS), "limit_s": 20}, PlainRun, 30)
    return run.exit == 0


def same(task: Path, copy: Path) -> bool:
    """True where the patched module is the reference, but for formatting and comments."""
    texts = [(copy / "tool/tool.py").read_text(), (task / "judge/reference.py").read_text()]
    return len({ast.dump(ast.parse(text)) for text in texts}) == 1


def one(task: Path, wall_s: float) -> dict:
    """Attempt and judge one task."""
    out = Path(tempfile.mkdtemp())
    found = attempt(task, wall_s, out)
    row = {
        key: found.get(key) for key in ("ok", "reason", "attempts", "candidates_per_s", "wall_s", "timings", "details")
    }
    row["task"], row["stderr"] = task.name, found["stderr"]
    verdicts = []
    for number, candidate in enumerate(found.get("candidates", []), 1):
        copy = patched(task, out / candidate["diff"])
        if number == 1:
            row["same"] = same(task, copy)
        verdicts.append(judged(task, copy))
        shutil.rmtree(copy.parent)
    row["judged"] = bool(found["ok"] and verdicts and verdicts[0])
    row["listed"] = any(verdicts)
    shutil.rmtree(out)
    return row


def main() -> int:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--wall", type=float, default=20.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--every", type=int, default=1, help="take each K-th task only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tasks = sorted(path for path in options.bundles.iterdir() if not options.only or path.name in options.only)
    rows = []
    for task in tasks[:: options.every]:
        rows.append(one(task, options.wall))
        row = rows[-1]
        mark = "same" if row.get("same") else "judged" if row["judged"] else "WRONG" if row["ok"] else row["reason"]
        said = (row["details"] or row["stderr"])[:100]
        print(f"{row['task']:14} {mark:20} {row['attempts'] or 0:6} tried {row['wall_s']:6.1f} s  {said}", flush=True)
    table(rows, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def table(rows: list[dict], options: argparse.Namespace) -> None:
    """Print the totals."""
    total = len(rows)
    speeds = [row["candidates_per_s"] for row in rows if row["candidates_per_s"]]
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    print(f"\n{total} tasks, wall {options.wall:g} s, seed 0; {machine}")
    for name, key in (("plausible", "ok"), ("judged", "judged"), ("same", "same"), ("listed", "listed")):
        count = sum(bool(row.get(key)) for row in rows)
        print(f"| {name:10} | {count:3} | {count / total:6.1%} |")
    solved = [row["wall_s"] for row in rows if row["ok"]]
    if solved:
        print(f"| median wall of the repaired | {statistics.median(solved):.2f} s |")
    if speeds:
        print(f"| median candidates per second | {statistics.median(speeds):.0f} |")
    reasons: dict[str, int] = {}
    for row in rows:
        if not row["ok"]:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    print("misses:", reasons)


if __name__ == "__main__":
    sys.exit(main())
