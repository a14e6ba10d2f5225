"""What a library of patterns is worth: mined from the repairs of some tasks, tried on others.

    .venv/bin/python bench/patterns.py TASKS.jsonl [--limit N] [--wall-s S]

Patterns are mined from every second task (buggy → reference); each of the others is attempted twice by the real
bin/repairlab-agent, with the library and without. Printed first: what reading and matching the library costs in CPU
seconds; then per task, with the library and without: which strategy repaired it or why none did, how many candidates of
patterns were tried, and how many of all strategies. Counts do not depend on what else the machine does, as long as no
task ends by its deadline.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import program

from repairlab.documents import encode
from repairlab.patterns import mined
from repairlab.repair.literals import project_of
from repairlab.repair.patterns import Library, Transplants, applied
from repairlab.trial.source import Source

ROOT = Path(__file__).resolve().parents[1]


def texts(task):
    """The buggy file, the right one, the tests."""
    head = task["declaration"]
    checks = [line for line in task["test"].splitlines() if not line.startswith("check(")]
    tests = ["from solution import *", *checks, "", "", "def test_all():", f"    check({task['entry_point']})", ""]
    return head + task["buggy_solution"], head + task["canonical_solution"], "\n".join(tests)


def library(tasks, directory):
    """Write the patterns of all tasks; return how many."""
    directory.mkdir(parents=True)
    count = 0
    for task in tasks:
        buggy, right, _ = texts(task)
        for pattern in mined({"solution.py": buggy}, {"solution.py": right}, origin="bench"):
            (directory / f"{pattern.id}.json").write_bytes(encode(pattern))
            count += 1
    return count


def attempt(task, at, root, wall_s):
    """Attempt a task and return the telemetry; an agent that says neither ok nor not repaired ends the comparison."""
    at.mkdir(exist_ok=True)
    buggy, _, tests = texts(task)
    (at / "solution.py").write_text(buggy)
    (at / "test_solution.py").write_text(tests)
    handoff = at.with_suffix(".json")
    handoff.write_text(json.dumps({"bundle_dir": str(at), "limits": {"wall_s": wall_s}}))
    command = [sys.executable, str(ROOT / "bin/repairlab-agent"), "--handoff", str(handoff), "--out", f"{at}-out"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"REPAIRLAB_ROOT": str(root)}, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"the agent ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return json.loads(done.stdout)


def first(telemetry):
    """Which strategy repaired a task, or why none did, and how many candidates of patterns were tried."""
    runs = {run["strategy"]: run for run in telemetry["strategies"]}
    return telemetry["strategy"] if telemetry["ok"] else telemetry["reason"], runs["pattern_transplant"]["tried"]


def cost(directory):
    """CPU seconds to read a library, and to match it against a file of a thousand suspicious lines."""
    began = time.process_time()
    found = Library.read(directory, 100_000)
    read = time.process_time() - began
    source = Source("m.py", (ROOT / "src/repairlab/repair/search.py").read_text() * 3, "utf-8")
    suspicion = {("m.py", line): 0.5 for line in range(1, 1000)}
    project = project_of({}, {"m.py": source}, {}, 1)
    began = time.process_time()
    edits = applied(found, {"m.py": source}, suspicion, project)
    matching = time.process_time() - began
    began = time.process_time()
    functions = Transplants(found, {"m.py": source}, suspicion, project)._all
    return read, matching, len(edits), time.process_time() - began, len(functions)


def main():
    """Print the table."""
    parser = program.parser(__doc__)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--limit", type=int, default=20, help="tasks that are attempted")
    parser.add_argument("--wall-s", type=float, default=20.0)
    options = parser.parse_args()
    tasks = [json.loads(line) for line in options.tasks.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        count = library(tasks[::2], root / "with/patterns")
        print(f"{count} patterns of {len(tasks[::2])} repairs")
        read, matching, edits, whole, functions = cost(root / "with/patterns")
        print(f"read in {read:.2f} s CPU; of 1000 lines {edits} edits in {matching:.2f} s")
        print(f"{functions} functions in {whole:.2f} s")
        rows = []
        for number, task in enumerate(tasks[1::2][: options.limit]):
            both = [attempt(task, root / f"{number}-{name}", root / name, options.wall_s) for name in ("with", "none")]
            rows.append([(*first(told), told["attempts"]) for told in both])
            print(number, *rows[-1], flush=True)
        helped = [row for row in rows if row[0][0] in ("pattern_transplant", "signature_adapter")]
        tried = statistics.median(row[0][1] for row in rows)
        print(f"{len(helped)} of {len(rows)} repaired by a pattern; candidates of patterns in a median task: {tried:g}")
        print("without the library the same tasks:", [row[1] for row in helped])


if __name__ == "__main__":
    main()
