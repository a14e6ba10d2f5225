#!/usr/bin/env python3
"""candidates: how many candidates a second the server judges, each in a fork of its own and in batches.

    bench/candidates.py --bundles DIR [--limit N] [--every K] [--only NAME …] [--json FILE]

DIR holds one directory a task with bundle/ and handoff_*.json, as for bench/repair.py. For each task the engine's own
first candidates (the N likeliest single edits) go through one real server in the real sandbox twice, both ways with the
same allowances and, as in the search, with more than one request in the pipe. What is measured is the time from the
first request to the last verdict, start and baseline left out. Prints a row a task, the medians with their spread, and
where the CPU seconds went: the agent, the pristine process, the hot worker (compiling and comparing apart) and the
forks. Beside them stands what the machine forks and spawns at most, in the same run. Both ways must agree on which
candidates pass; each disagreement is printed, and then the exit status is 1. A candidate that ran out of time on one
side only is counted apart: the clock decides that.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import program
from machine import machine, percentile, table

from repairlab import config
from repairlab.documents import Handoff, decode
from repairlab.repair.attempt import Attempt
from repairlab.repair.candidates import generate
from repairlab.repair.collection import collected
from repairlab.repair.ground import Ground, allowances, order_of
from repairlab.repair.literals import project_of
from repairlab.repair.search import BATCH, PARTIAL_TESTS
from repairlab.trial.validation import Server, Verdict

FORKED, BATCHED = "forked", "batched"


# What no candidate of its own fork can be cheaper than: a fork of a process with pytest, that ends at once.
FORKS = """
import gc, os, pytest, sys, time
def rate(width):
    began, made, at_work = time.monotonic(), 0, 0
    while time.monotonic() < began + 1:
        while at_work < width:
            if os.fork() == 0:
                os._exit(0)
            at_work, made = at_work + 1, made + 1
        os.wait()
        at_work -= 1
    return made / (time.monotonic() - began)
def spawned():
    began, made = time.monotonic(), 0
    while time.monotonic() < began + 1:
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        made += 1
    return made / (time.monotonic() - began)
gc.freeze()
print(rate(1), rate(2), spawned())
"""


def limits() -> list[list[str]]:
    """Return rows of what this machine can do at most, measured now."""
    told = subprocess.run([sys.executable, "-c", FORKS], check=True, capture_output=True, text=True).stdout
    names = ("fork, exit, wait: nothing done, pytest loaded", "… two at a time", "spawn of /bin/true")
    return [[name, f"{float(rate):.0f}", ""] for name, rate in zip(names, told.split(), strict=True)]


class Prepared:
    """A task with its server as the search meets it: collected, run once, traced, planned; and its candidates."""

    def __init__(self, task: Path) -> None:
        document = json.loads(next(task.glob("handoff_*.json")).read_text())
        handoff = decode(json.dumps(document).encode(), Handoff)
        self.attempt = Attempt(handoff, config.load(), effort=1)
        self.server = Server(self.attempt.setup, 600.0)
        self.ids = collected(self.server, self.attempt.bundle, 60.0).ids
        types = self.attempt._baseline(self.server, self.ids)
        tests = self.attempt.tests
        order, failing = order_of(tests)
        self.ground = Ground(tests, order, failing, allowances(tests))
        bundle = self.attempt.bundle
        project = project_of(bundle.files, bundle.sources, types, 1)
        self.changes = generate(bundle.sources, self.attempt.suspicion, project)
        quick = [index for index in order[:failing] if tests[index].outcome != "hang"]
        self.partial = min(len(quick), PARTIAL_TESTS)

    def judged(self, size: int, limit: int, *, alone: bool) -> tuple[list[Verdict], float]:
        """Return the verdicts on the first `limit` candidates, sent `size` at a time, and the seconds of it."""
        ground, changes = self.ground, self.changes[:limit]
        self.server.plan(ground.order, ground.failing, ground.allow, self.ids, self.attempt.whole)  # forgets verdicts
        pieces = [changes[at : at + size] for at in range(0, len(changes), size)]
        verdicts: list[Verdict] = []
        waiting = sent = 0
        began = time.monotonic()
        while len(verdicts) < len(changes):
            while sent < len(pieces) and waiting < 2 * size:
                edits = [change.edits for change in pieces[sent]]
                self.server.submit(edits, scale=1.0, partial=self.partial, alone=alone)
                waiting += len(pieces[sent])
                sent += 1
            verdicts.append(self.server.result(time.monotonic() + 60))
            waiting -= 1
        return verdicts, time.monotonic() - began


def measured(task: Path, limit: int) -> dict:
    """Judge one task's candidates both ways."""
    prepared = Prepared(task)
    row: dict = {"task": task.name, "candidates": len(prepared.changes[:limit])}
    found: dict[str, list[Verdict]] = {}
    with prepared.server:
        for way, size in ((FORKED, 8), (BATCHED, BATCH)):
            before, own = prepared.server.cost(), time.process_time()
            found[way], seconds = prepared.judged(size, limit, alone=way == FORKED)
            after, own = prepared.server.cost(), time.process_time() - own
            row[way] = len(found[way]) / seconds
            spent = {name: getattr(after, name) - getattr(before, name) for name in after.__struct_fields__}
            row[f"{way}_cpu_ms"] = {
                name: 1000 * seconds / len(found[way]) for name, seconds in ({"agent": own} | spent).items()
            }
    row["disagree"], row["clock"] = disagreements(prepared, found)
    counts: dict[str, int] = {}
    for verdict in found[BATCHED]:
        counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
    return row | {"verdicts": counts}


def disagreements(prepared: Prepared, found: dict[str, list[Verdict]]) -> tuple[list[str], int]:
    """Return the candidates on which both ways differ about passing, and how many only the clock made differ."""
    bad, clock = [], 0
    for change, one, many in zip(prepared.changes, found[FORKED], found[BATCHED], strict=False):
        if one.verdict == many.verdict or {one.verdict, many.verdict} <= {"failed", "died"}:
            continue
        if "hang" in (one.verdict, many.verdict):
            clock += 1
            continue
        bad.append(f"{one.verdict} in a fork, {many.verdict} in a batch: {change.note} at {change.line[1]}")
    return bad, clock


def summary(rows: Sequence[dict], options: argparse.Namespace) -> None:
    """Print the table of medians and of CPU time."""
    print(f"\n{len(rows)} tasks, the {options.limit} likeliest candidates of each; {machine(options.bundles)}")
    lines = []
    for way in (FORKED, BATCHED):
        speeds = [row[way] for row in rows]
        spread = f"{percentile(speeds, 0.1):.0f} – {percentile(speeds, 0.9):.0f}"
        lines.append([way, f"{statistics.median(speeds):.0f}", spread])
    print(table(["candidates per second", "median", "10 % – 90 %"], [*lines, *limits()]))
    names = list(rows[0][f"{FORKED}_cpu_ms"])
    lines = [
        [way, *(f"{statistics.median(row[f'{way}_cpu_ms'][name] for row in rows):.3f}" for name in names)]
        for way in (FORKED, BATCHED)
    ]
    print(table(["CPU ms a candidate", *names], lines))
    print(f"only the clock differed: {sum(row['clock'] for row in rows)}")


def main() -> int:
    """Measure, print, and say by the exit status whether both ways agree."""
    parser = program.parser(__doc__)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--every", type=int, default=1, help="take each K-th task only")
    parser.add_argument("--limit", type=int, default=600, help="candidates a task")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tasks = sorted(path for path in options.bundles.iterdir() if not options.only or path.name in options.only)
    rows = []
    for task in tasks[:: options.every]:
        row = measured(task, options.limit)
        rows.append(row)
        counts = ", ".join(f"{count} {name}" for name, count in sorted(row["verdicts"].items()))
        print(f"{row['task']:14} {row[FORKED]:6.0f} forked {row[BATCHED]:6.0f} batched   {counts}", flush=True)
        for line in row["disagree"]:
            print(f"    DISAGREE {line}")
    summary(rows, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 1 if any(row["disagree"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
