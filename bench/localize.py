#!/usr/bin/env python3
"""localize: at which place, among the suspicious lines, those stand that the true fix changes.

    bench/localize.py --bundles DIR … [--seen CACHE] [--only NAME …]

DIR holds one directory a task: bundle/, handoff_*.json and judge/reference.py (the fixed text of one file). The
baseline of each runs once in the sandbox; with --seen what the tests did is kept in CACHE, so that another formula is
tried in seconds. A changed line that no test runs (an `else`, a head over several lines) counts as the statement around
it. Lines of equal suspicion share the mean of their places.

Prints, over the tasks: how often the best placed faulty line is among the first 1, 3, 5, 10; the mean share of the run
lines that come before it (EXAM, Wong and Debroy 2009); and the mean share of all suspicion^1.5 that its line has, which
is what the order of candidates goes by.
"""

import difflib
import json
import statistics
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import program

from repairlab import config
from repairlab.documents import Handoff
from repairlab.repair.attempt import Attempt
from repairlab.repair.candidates import SHARPNESS
from repairlab.repair.collection import collected
from repairlab.repair.localization import suspicious
from repairlab.trial.testrun import Line, TestRun
from repairlab.trial.validation import Server


def runs_of(task: Path) -> tuple[list[TestRun], list[Line]]:
    """Run the baseline of a task; return what its tests did, and the lines that the fix changes."""
    handoff = json.loads(next(task.glob("handoff_*.json")).read_text())
    wanted = {key: handoff[key] for key in ("tests", "editable") if key in handoff}
    attempt = Attempt(Handoff(bundle_dir=handoff["bundle_dir"], **wanted), config.load(), effort=1)
    with Server(attempt.setup, 60) as server:
        attempt._baseline(server, collected(server, attempt.bundle, attempt._left()).ids)
    fixed = (task / "judge/reference.py").read_text()
    sources = attempt.bundle.sources
    path = max(sources, key=lambda name: alike(sources[name].text, fixed))
    return attempt.tests, changed(path, sources[path].text, fixed)


def alike(one: str, two: str) -> float:
    return difflib.SequenceMatcher(None, one.splitlines(), two.splitlines(), autojunk=False).quick_ratio()


def changed(path: str, old: str, new: str) -> list[Line]:
    """Return the lines that a fix changes; for what it inserts, the line after and the line before."""
    found = set()
    blocks = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False).get_opcodes()
    for tag, start, end, _, _ in blocks:
        if tag == "insert":
            found |= {start, start + 1}
        elif tag != "equal":
            found |= set(range(start + 1, end + 1))
    return [(path, number) for number in sorted(found)]


def placed(runs: list[TestRun], faulty: list[Line]) -> tuple[float, int, float]:
    """Return the place of the best placed faulty line, how many lines are suspicious, its share of the search."""
    scores = suspicious([run for run in runs if run.failing], [run for run in runs if not run.failing])
    known = [scores[line] for line in faulty if line in scores]
    if not known:  # a head over several lines, an `else`: the nearest line above that runs
        above = [max((line for line in scores if line[0] == p and line[1] <= n), default=None) for p, n in faulty]
        known = [scores[line] for line in above if line is not None] or [0.0]
    best = max(known)
    higher, equal = sum(s > best for s in scores.values()), sum(s == best for s in scores.values())
    weight = best**SHARPNESS / (sum(score**SHARPNESS for score in scores.values()) or 1.0)
    return higher + (equal + 1) / 2, len(scores), weight


def known_runs(task: Path, cache: dict) -> tuple[list[TestRun], list[Line]]:
    """Return what `runs_of` says, from the cache where it is there."""
    if task.name not in cache:
        runs, faulty = runs_of(task)
        keys = [[[p, n, hits] for (p, n), hits in run.lines.items()] for run in runs]
        early = [[[p, n, *seen] for (p, n), seen in run.earlier.items()] for run in runs]
        plain = [[r.id, r.outcome, r.message, r.crash] for r in runs]
        cache[task.name] = json.loads(msgspec.json.encode([plain, keys, early, faulty]))
    plain, keys, early, faulty = cache[task.name]
    runs = []
    for (name, outcome, message, crash), lines, seen in zip(plain, keys, early, strict=True):
        hits = {(p, n): count for p, n, count in lines}
        before = {(p, n): (last, calls) for p, n, last, calls in seen}
        runs.append(TestRun(name, outcome, 0.0, message, hits, tuple((p, n) for p, n in crash), before))
    return runs, [(p, n) for p, n in faulty]


def main() -> int:
    """Measure and print."""
    parser = program.parser(__doc__)
    parser.add_argument("--bundles", type=Path, nargs="+", required=True)
    parser.add_argument("--seen", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    cache = json.loads(options.seen.read_text()) if options.seen and options.seen.exists() else {}
    rows = []
    for task in sorted(path for root in options.bundles for path in root.iterdir()):
        if (options.only and task.name not in options.only) or not (task / "judge/reference.py").exists():
            continue
        rows.append(placed(*known_runs(task, cache)))
        print(f"{task.name:30} place {rows[-1][0]:6.1f} of {rows[-1][1]:5}  share {rows[-1][2]:.3f}", flush=True)
    if options.seen:
        options.seen.write_text(json.dumps(cache))
    tops = ", ".join(f"{sum(place <= n for place, _, _ in rows) / len(rows):.1%} in {n}" for n in (1, 3, 5, 10))
    exam = statistics.mean(place / max(lines, 1) for place, lines, _ in rows)
    print(f"{len(rows)} tasks: {tops}; EXAM {exam:.3f}; share {statistics.mean(row[2] for row in rows):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
