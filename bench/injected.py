#!/usr/bin/env python3
"""injected: how many bugs, put into well-known libraries by a seeded mutator, the agent repairs.

    bench/injected.py --store DIR [--cases 100] [--seed 0] [--wall 60] [--libraries NAME …] [--bugs CLASS …]
                      [--only CASE …] [--jobs N] [--no-probe] [--json FILE] [--against OLD.json]

DIR keeps the libraries' source distributions (fetched by pip, pinned by hash, see bench/libraries.py) and the cases
that were drawn: a file, one bug of a class (bench/bugs.py), the tests that it makes fail. A bug counts when at least
one and at most 20 tests of the whole suite fail with it and the suite ends in time. The bundle is the library with its
whole test suite, and the handoff names nothing but its directory. For each case the real bin/repairlab-agent runs.

    repaired    the patch passes the whole suite once more, in a sandbox of its own
    original    the patch is the library's own text, but for formatting (a floor: equal code is surely right)
    listed      … one of those shown is

Misses have the causes of bench/repair.py. Cases are in two halves by the hash of their names.
"""

import argparse
import ast
import dataclasses
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]

import bugs  # noqa: F401  its classes register themselves
import figures
import program
from libraries import LIBRARIES, USUAL, targets, unpacked
from mutator import Mutant, changes, mutants
from trials import attempt, half, patched, pytest_run

MOST_FAILING = 20
SUITE_S = 60.0
DRAWS = 60  # of one case, until one of them is a bug that its tests see
KEPT = ("ok", "reason", "strategy", "attempts", "candidates_per_s", "wall_s", "timings", "details", "stderr")
SHARES = (
    ("repaired", "agrees", None),
    ("plausible", "ok", None),
    ("patch is the original", "same", None),
    ("original among those shown", "listed", None),
)


@dataclass
class Case:
    """One bug in one library."""

    name: str
    library: str
    path: str
    bug: Mutant
    failing: list[str]


def main() -> int:
    """Run the benchmark and print the tables."""
    options = arguments().parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        roots = {name: unpacked(LIBRARIES[name], options.store, Path(place)) for name in options.libraries}
        numbers = [n for n in range(options.cases) if not options.only or f"case-{n}" in options.only]
        rows = program.attempted(numbers, lambda number: one(number, roots, options), line, options.jobs)
    return program.concluded(rows, options, SHARES, by=("library", "bug"))


def arguments() -> argparse.ArgumentParser:
    parser = program.parser_of_attempts(__doc__, wall_s=60.0, seed_of="the draw")
    parser.add_argument("--store", type=Path, required=True, help="where libraries and drawn cases are kept")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--bugs", nargs="+", default=[], metavar="CLASS", help="draw of these classes of bench/bugs.py")
    parser.add_argument("--libraries", nargs="+", default=list(USUAL), choices=sorted(LIBRARIES))
    return parser


def drawn(number: int, roots: dict[str, Path], options: argparse.Namespace) -> Case:
    """Return a case: the one that was drawn before, or the first draw that the library's tests see."""
    name = options.libraries[number % len(options.libraries)]
    version = LIBRARIES[name].version
    which = "".join(f"-{kind.replace(' ', '_')}" for kind in sorted(options.bugs))
    kept = options.store / f"{name}-{version}-seed-{options.seed}-{number}-of-{len(options.libraries)}{which}.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        return Case(**{**known, "bug": Mutant(**known["bug"])})
    random_ = random.Random(f"{options.seed}:{number}:{name}")
    for _ in range(DRAWS):
        path, bug = draw(roots[name], targets(LIBRARIES[name], roots[name]), options, random_)
        if failing := seen(roots[name], path, bug):
            case = Case(f"case-{number}", name, path, bug, failing)
            new = kept.with_suffix(".new")
            new.write_text(json.dumps(dataclasses.asdict(case)))
            new.replace(kept)  # a run that is ended meanwhile leaves a whole case, or none
            return case
    raise SystemExit(f"case {number}: of {DRAWS} bugs in {name} none makes 1 to {MOST_FAILING} tests fail")


def draw(root: Path, paths: list[str], options: argparse.Namespace, random_: random.Random) -> tuple[str, Mutant]:
    """Draw a file by its size, a class of bugs, and a place for it."""
    sizes = [(root / path).stat().st_size for path in paths]
    while True:
        (path,) = random_.choices(paths, sizes)
        known = spoilt(root / path, options.seed)
        kinds = [kind for kind, those in known.items() if those and kind in (options.bugs or known)]
        if not kinds:
            continue
        kind = random_.choice(kinds)
        bug = random_.choice(known[kind])
        if changes((root / path).read_bytes(), bug):
            return path, bug


@cache
def spoilt(path: Path, seed: int) -> dict[str, list[Mutant]]:
    return mutants(path.read_bytes(), str(seed))


def seen(root: Path, path: str, bug: Mutant) -> list[str]:
    """Return the tests that a bug makes fail; none where they are too many, or where the suite does not end."""
    with spoiled(root, path, bug) as copy:
        run = pytest_run(copy, limit_s=SUITE_S, options=[f"--maxfail={MOST_FAILING + 1}"])
    if run.timed_out or run.exit != 1 or run.cases is None:
        return []
    failing = [f"{cls}::{name}" for cls, name, letter in run.cases if letter not in ("p", "s")]
    return failing if len(failing) <= MOST_FAILING else []


@contextmanager
def spoiled(root: Path, path: str, bug: Mutant) -> Iterator[Path]:
    """Yield a copy of a library with a bug in it, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "bundle"
        shutil.copytree(root, copy)
        (copy / path).write_bytes(bug.applied((root / path).read_bytes()))
        yield copy


def one(number: int, roots: dict[str, Path], options: argparse.Namespace) -> dict:
    """Attempt and judge one case."""
    case = drawn(number, roots, options)
    original = (roots[case.library] / case.path).read_text()
    with spoiled(roots[case.library], case.path, case.bug) as bundle, tempfile.TemporaryDirectory() as place:
        found = attempt({"bundle_dir": str(bundle)}, Path(place), options.wall, options.effort)
        begun = time.monotonic()
        diffs = [Path(place) / each["diff"] for each in found.get("candidates", [])]
        row = {key: found.get(key) for key in KEPT} | {"task": case.name, "half": half(f"{options.seed} {case.name}")}
        row |= {"library": case.library, "bug": case.bug.kind, "path": case.path, "line": case.bug.line}
        row |= {"tests": found.get("tests"), "failing": len(case.failing), "cause": None, "place": None}
        row["shown"] = [restores(bundle, diff, case.path, original) for diff in diffs]
        row["patched"] = row["ok"] = bool(found["ok"])
        row["same"] = bool(found["ok"] and row["shown"] and row["shown"][0])
        row["listed"] = any(row["shown"])
        row["judged"] = row["agrees"] = bool(found["ok"]) and (row["same"] or passes(bundle, diffs))
        row["judge_s"] = time.monotonic() - begun
        if not row["agrees"] and not options.no_probe:
            investigate(row, bundle, {case.path: original}, options.wall)
    return row


def passes(bundle: Path, diffs: list[Path]) -> bool:
    """Run the whole suite on the first patch; without one (a noop), nothing was repaired."""
    if not diffs:
        return False
    with patched(bundle, diffs[0]) as copy:
        return pytest_run(copy, limit_s=SUITE_S).exit == 0


def restores(bundle: Path, diff: Path, path: str, original: str) -> bool:
    """True where a patch leaves the file as the library has it, but for formatting."""
    with patched(bundle, diff) as copy:
        text = (copy / path).read_text()
        return text == original or ast.dump(ast.parse(text)) == ast.dump(ast.parse(original))


def investigate(row: dict, bundle: Path, references: dict[str, str], wall_s: float) -> None:
    """Add the cause of a miss, and where the bug's own reverse stood among the candidates."""
    from probe import probe

    begun = time.monotonic()
    found = probe(bundle, references, max(120.0, 2 * wall_s))
    row["probe_s"] = time.monotonic() - begun
    row |= dataclasses.asdict(found)
    row["cause"] = figures.cause(row)


def line(row: dict) -> str:
    """Return what one line can say of a case."""
    mark = "same" if row["same"] else "repaired" if row["agrees"] else "WRONG" if row["ok"] else row["reason"]
    where = f"{row['library']} {row['path'].rpartition('/')[2]}:{row['line']} {row['bug']}"
    said = (row["details"] or row["stderr"] or "")[:100]
    tried = f"{row['attempts'] or 0:6} tried {row['wall_s']:5.1f} s"
    return f"{row['task']:9} {where:50} {mark:10} {tried}  {figures.why(row)}{said}"


if __name__ == "__main__":
    sys.exit(main())
