#!/usr/bin/env python3
"""repair: how many tasks the agent repairs, how fast, what its patches are worth, and why it misses what it misses.

    bench/repair.py --bundles DIR [--wall 20] [--effort 1] [--seed 0] [--only NAME …] [--every K] [--jobs N]
                    [--no-probe | --probe-all] [--probe-wall 60] [--json FILE] [--against OLD.json]

DIR holds one directory a task:

    bundle/              tool/__init__.py, tool/tool.py with the bug, tests/test_*.py: what the repairer sees
    handoff_NAME.json    a handoff; its bundle_dir is replaced by the bundle/ beside it
    judge/test_full.py   tests that import tool.tool, where no repairer looks: the bundle's, or more
    judge/reference.py   the text of tool/tool.py without the bug

For each task the real bin/repairlab-agent runs. Each patch that it shows, up to the first that is right, is applied
with git; the judge's tests run on it in a sandbox, then it and the reference run on inputs that no test has.

    plausible   the agent says ok            (patched: … and changed something)
    judged      the patch passes the judge's tests
    agrees      … and returns what the reference returns on the generated inputs
    same        the patch is the reference, but for formatting
    listed      one of the shown patches passes the judge and agrees

Each miss gets its cause: `space`, the reference's edit is not among the candidates; `time`, it is, and its turn did not
come; `rank`, another patch was taken for it; `false reject`, validation kills the reference's own edit; `not known`,
the probe that would tell had too little time. Tasks are in two halves by the hash of their names: who tunes on one sees
on the other what it is worth. Judges and probes may take longer than the agent; what each took in all is printed.
"""

import argparse
import ast
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]

import figures
import program
from agreement import disagreement
from trials import attempt, half, patched, pytest_run

KEPT = (
    "ok",
    "reason",
    "strategy",
    "attempts",
    "candidates_per_s",
    "wall_s",
    "timings",
    "details",
    "stderr",
    "confidence",
    "clusters",
)
MODULE = "tool/tool.py"


def main() -> int:
    """Run the benchmark and print the tables."""
    options = arguments().parse_args()
    tasks = sorted(path for path in options.bundles.iterdir() if not options.only or path.name in options.only)
    rows = program.attempted(tasks[:: options.every], lambda task: one(task, options), line, options.jobs)
    return program.concluded(rows, options)


def arguments() -> argparse.ArgumentParser:
    seed_of = "the inputs that patch and reference are compared on"
    parser = program.parser_of_attempts(__doc__, wall_s=20.0, seed_of=seed_of)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take each K-th task only")
    parser.add_argument("--probe-all", action="store_true", help="feed every reference edit through the validation")
    parser.add_argument(
        "--probe-wall", type=float, default=60.0, help="seconds that the two attempts of a probe may take"
    )
    return parser


def one(task: Path, options: argparse.Namespace) -> dict:
    """Attempt and judge one task."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        handoff = json.loads(next(task.glob("handoff_*.json")).read_text())
        found = attempt({**handoff, "bundle_dir": str((task / "bundle").resolve())}, out, options.wall, options.effort)
        begun = time.monotonic()
        shown = judged_until_right(task, [out / each["diff"] for each in found.get("candidates", [])], options.seed)
    row = {key: found.get(key) for key in KEPT} | {"task": task.name, "half": half(task.name), "shown": shown}
    row["judge_s"] = time.monotonic() - begun
    row["patched"] = bool(found["ok"] and found.get("strategy") != "noop")
    first = shown[0] if row["patched"] and shown else {}
    row |= {key: bool(first.get(key)) for key in ("judged", "agrees", "same")}
    row["listed"] = row["patched"] and any(each["agrees"] for each in shown)
    row["cause"] = row["place"] = None
    if options.probe_all or (not options.no_probe and not row["agrees"] and found.get("strategy") != "noop"):
        investigate(row, task, options.probe_wall)
    return row


def judged_until_right(task: Path, diffs: list[Path], seed: int) -> list[dict]:
    """Judge patches in order, up to the first that agrees with the reference: those after it change no figure."""
    shown: list[dict] = []
    for diff in diffs:
        if any(each["agrees"] for each in shown):
            break
        shown.append(judged(task, diff, seed))
    return shown


def judged(task: Path, diff: Path, seed: int) -> dict:
    """Say of one patch whether it passes the judge, agrees with the reference, and is the reference."""
    with patched(task / "bundle", diff) as copy:
        texts = [(copy / MODULE).read_text(), (task / "judge/reference.py").read_text()]
        same = len({ast.dump(ast.parse(text)) for text in texts}) == 1
        for test in (copy / "tests").iterdir():
            test.unlink()
        (copy / "tests/test_full.py").write_text((task / "judge/test_full.py").read_text())
        passes = pytest_run(copy).exit == 0
        why = "" if same or not passes else disagreement(task, copy, seed)
    return {"judged": passes, "agrees": passes and not why, "same": same, "differs": why}


def investigate(row: dict, task: Path, wall_s: float) -> None:
    """Add the cause of a miss, and where the reference's edit stood among the candidates."""
    from probe import probe

    begun = time.monotonic()
    found = probe(task / "bundle", {MODULE: (task / "judge/reference.py").read_text()}, wall_s)
    row["probe_s"] = time.monotonic() - begun
    row |= dataclasses.asdict(found)
    if not row["agrees"] or found.rejected or found.late:
        row["cause"] = figures.cause(row)


def line(row: dict) -> str:
    """Return what one line can say of a task."""
    names = (key for key in ("same", "agrees", "judged") if row[key])
    mark = next(names, "noop" if row["strategy"] == "noop" else "WRONG" if row["ok"] else row["reason"])
    differs = "" if row["agrees"] or not row["shown"] else row["shown"][0]["differs"]
    said = differs or row["details"] or row["stderr"] or ""
    tried = f"{row['attempts'] or 0:6} tried {row['wall_s']:6.1f} s"
    return f"{row['task']:14} {mark or '':12} {tried}  {figures.why(row)}{said[:110]}"


if __name__ == "__main__":
    sys.exit(main())
