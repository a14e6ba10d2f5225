#!/usr/bin/env python3
"""reach: whether the true fix is among the candidates, and at which rank, without running a single candidate.

    bench/reach.py [--bundles DIR … [--seen CACHE]] [--pairs FILE …] [--mutants FILE …
                   [--draws N] [--seed N] [--bugs CLASS …]] [--effort N] [--only NAME …] [--verbose]

DIR holds one directory a task: bundle/, handoff_*.json and judge/reference.py, the whole text of the fixed file; the
one editable file that shares most of its lines is compared. A FILE of pairs is JSON lines: name, buggy, fixed (whole
texts), perhaps tests. Of the FILEs of --mutants, correct Python code (the standard library's, say), bench/mutator
makes N bugs a class and file, whose fix is the file as it was. Two texts are the same when their syntax trees are.

Without --seen all lines of the definitions that the fix changes are equally suspicious and types are known from
annotations alone. With it the baseline runs in the sandbox, once, and what it saw (suspiciousness, types) is kept in
CACHE, so that later runs take seconds and repeat exactly. What is not reached by one edit is tried as edits in several
places: each step has to come nearer to the fix.

Prints the rank of each fix; then medians, the share within 50, 200, 1000 ranks, and by family how many fixes it reaches
first, how many candidates it makes and how many of them stand before a fix: what a family costs and what it earns.
"""

import argparse
import ast
import difflib
import json
import random
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]

import bugs  # noqa: F401  its classes register themselves
import program
from mutator import changes, mutants

from repairlab import config
from repairlab.documents import Handoff
from repairlab.repair.attempt import Attempt
from repairlab.repair.candidates import Change, generate
from repairlab.repair.collection import collected
from repairlab.repair.literals import project_of
from repairlab.trial.source import UNPARSABLE, Edit, Source, overlapping
from repairlab.trial.testrun import Line
from repairlab.trial.validation import Server

BUDGETS = (10, 50, 200, 1000, 5000)
SPREAD = 2000  # characters: a candidate that lies farther from what the fix changes is another edit
_NOISE = re.compile(r"#[^\n]*|[\s()\\,;'\"]+")


@dataclass
class Case:
    """One bug: all files of its bundle, the editable ones, the fixed text of `path`, what a baseline saw."""

    name: str
    files: dict[str, bytes]
    sources: dict[str, Source]
    path: str
    fixed: str
    suspicion: dict[Line, float] = field(default_factory=dict)
    types: dict[tuple[str, int, str], str] = field(default_factory=dict)
    kind: str = ""

    @property
    def source(self) -> Source:
        """The file that the fix changes."""
        return self.sources[self.path]


def bundles(root: Path, cache: Path | None, only: list[str]) -> Iterator[Case]:
    """Yield a case for each task below `root`."""
    known = json.loads(cache.read_text()) if cache and cache.exists() else {}
    for task in sorted(root.iterdir()):
        if (only and task.name not in only) or not (task / "judge/reference.py").exists():
            continue
        handoff = json.loads(next(task.glob("handoff_*.json")).read_text())
        attempt = Attempt(Handoff(bundle_dir=handoff["bundle_dir"]), config.load(), effort=1)
        fixed = (task / "judge/reference.py").read_text()
        path = max(attempt.bundle.sources, key=lambda name: _alike(attempt.bundle.sources[name].text, fixed))
        case = Case(task.name, attempt.bundle.files, attempt.bundle.sources, path, fixed)
        if cache:
            if task.name not in known:
                known[task.name] = seen(attempt)
            case.suspicion = {(p, n): share for p, n, share in known[task.name]["suspicion"]}
            case.types = {(p, n, name): kind for p, n, name, kind in known[task.name]["types"]}
        yield case
    if cache:
        cache.write_text(json.dumps(known))


def _alike(one: str, two: str) -> float:
    return difflib.SequenceMatcher(None, one.splitlines(), two.splitlines()).ratio()


def seen(attempt: Attempt) -> dict:
    """Run the baseline of one attempt in the sandbox; return what it saw in a form that JSON keeps."""
    with Server(attempt.setup, 60) as server:
        types = attempt._baseline(server, collected(server, attempt.bundle, attempt._left()).ids)
    return {
        "suspicion": [[p, n, share] for (p, n), share in sorted(attempt.suspicion.items())],
        "types": [[p, n, name, kind] for (p, n, name), kind in sorted(types.items())],
    }


def pairs(file: Path) -> Iterator[Case]:
    """Yield a case for each line of a file of pairs."""
    for line in file.read_text().splitlines():
        pair = json.loads(line)
        files = {"m.py": pair["buggy"].encode(), "test_m.py": pair.get("tests", "").encode()}
        yield Case(pair["name"], files, {"m.py": Source.decode("m.py", files["m.py"])}, "m.py", pair["fixed"])


def mutated(file: Path, draws: int, seed: int, kinds: list[str]) -> Iterator[Case]:
    """Yield a case for each of the bugs that are drawn for a file of correct code, `draws` of each class."""
    text = file.read_bytes()
    for kind, found in mutants(text, f"{seed}:{file.name}").items():
        if kinds and kind not in kinds:
            continue
        drawn = random.Random(f"{seed}:{file.name}:{kind}").sample(found, min(4 * draws, len(found)))
        for number, mutant in enumerate([mutant for mutant in drawn if changes(text, mutant)][:draws]):
            files = {"m.py": mutant.applied(text)}
            name = f"{kind}: {file.stem} {number}".replace(" ", "_")
            sources = {"m.py": Source.decode("m.py", files["m.py"])}
            yield Case(name, files, sources, "m.py", text.decode(), kind=kind)


def changed_lines(case: Case) -> dict[Line, float]:
    """Return the lines of the innermost definitions that the fix changes, all equally suspicious."""
    old, new = case.source.text.splitlines(), case.fixed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [n for tag, a, b, _, _ in blocks if tag != "equal" for n in range(a + (a < b), max(b, a + 1) + 1)]
    found: dict[Line, float] = {}
    for number in changed:
        around = [d for d in case.source.definitions() if d.lineno <= number <= (d.end_lineno or 0)]
        inner = max(around, key=lambda d: d.lineno, default=None)
        first, last = (inner.lineno, inner.end_lineno or number) if inner else (number, number)
        found |= dict.fromkeys([(case.path, n) for n in range(first, last + 1)], 1.0)
    return found


def candidates(case: Case, effort: int) -> list[Change]:
    """Return the candidates as the search would make them."""
    project = project_of(case.files, case.sources, case.types, effort)
    return generate(case.sources, case.suspicion or changed_lines(case), project)


def rank_of(case: Case, found: list[Change]) -> int | None:
    """Return the rank, from 1, of the first candidate that is the fix."""
    old, new, tree = case.source.text, case.fixed, ast.dump(ast.parse(case.fixed))
    first = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
    last = next((at for at, pair in enumerate(zip(old[::-1], new[::-1], strict=False)) if pair[0] != pair[1]), 0)
    for rank, change in enumerate(found, 1):
        low = min(first, *(edit.start for edit in change.edits))
        high = max(len(old) - last, *(edit.end for edit in change.edits))
        if high - low < SPREAD + len(old) - last - first and all(edit.path == case.path for edit in change.edits):
            text = case.source.edited(change.edits)
            windows = text[low : high + len(text) - len(old)], new[low : high + len(new) - len(old)]
            if _bare(windows[0]) == _bare(windows[1]) and _dumped(text) == tree:
                return rank
    return None


def _bare(text: str) -> str:
    return _NOISE.sub("", text)


def _dumped(text: str) -> str:
    try:
        return ast.dump(ast.parse(text))
    except UNPARSABLE:
        return ""


def steps_to(case: Case, found: list[Change], deepest: int = 4) -> list[int] | None:
    """Return the ranks of several edits that make the fix together; greedy, so None does not prove that none exist."""
    wanted = ast.unparse(ast.parse(case.fixed)).splitlines()
    made: list[Edit] = []
    ranks: list[int] = []
    left = len(wanted) + 1
    while left and len(ranks) < deepest:
        options = [*_nearer(case, found, made, wanted, left)]
        if not options:
            return None
        left, rank = min(options)
        made += found[rank - 1].edits
        ranks.append(rank)
    return ranks if not left else None


def _nearer(
    case: Case, found: list[Change], made: list[Edit], wanted: list[str], left: int
) -> Iterator[tuple[int, int]]:
    """Yield (lines that still differ, rank) of the candidates that bring a line to what the fix has there."""
    new = {_bare(line) for line in case.fixed.splitlines()}
    old = {_bare(line) for line in case.source.text.splitlines()}
    for rank, change in enumerate(found, 1):
        edits = [*made, *change.edits]
        if overlapping(edits) or any(edit.path != case.path for edit in edits):
            continue
        text = case.source.edited(edits)
        lines = {_bare(line) for line in text.splitlines()}
        if lines & (new - old) or not (lines - new):
            try:
                have = ast.unparse(ast.parse(text)).splitlines()
            except UNPARSABLE:
                continue
            differing = sum(tag != " " for tag in (line[0] for line in difflib.ndiff(wanted, have) if line[0] != "?"))
            if differing < left:
                yield differing, rank


def report(rows: list[tuple[Case, int | None, list[Change], list[int] | None]]) -> None:
    """Print the totals, those of each class of bugs, and what each family earns and costs."""
    single = [rank for _, rank, _, _ in rows if rank]
    several = [ranks for _, rank, _, ranks in rows if not rank and ranks]
    print(f"\n{len(rows)} fixes; {len(single)} reached by one candidate, {len(several)} by several")
    if single:
        mean = statistics.geometric_mean(single)
        print(f"rank of one: median {statistics.median(single):g}, geometric mean {mean:.1f}, worst {max(single)}")
    print("within " + ", ".join(f"{budget}: {sum(rank <= budget for rank in single)}" for budget in BUDGETS))
    print(f"candidates a fix: median {statistics.median(len(found) for _, _, found, _ in rows):g}")
    for kind in sorted({case.kind for case, _, _, _ in rows} - {""}):
        ranks = [rank for case, rank, _, _ in rows if case.kind == kind]
        reached = [rank for rank in ranks if rank]
        middle = f"{statistics.median(reached):g}" if reached else "-"
        print(f"{kind:32} {len(reached):4} of {len(ranks):4}, median rank {middle}")
    earned: Counter[str] = Counter()
    made: Counter[str] = Counter()
    before: Counter[str] = Counter()
    for _, rank, found, _ in rows:
        made.update(f"{change.family}: {change.note}" for change in found)
        if rank:
            earned[f"{found[rank - 1].family}: {found[rank - 1].note}"] += 1
            before.update(f"{change.family}: {change.note}" for change in found[: rank - 1])
    print(f"\n{'what':46} {'fixes':>6} {'before':>8} {'all':>8}")
    for name in sorted(made, key=lambda name: (-earned[name], -before[name], name)):
        print(f"{name[:46]:46} {earned[name]:6} {before[name]:8} {made[name]:8}")


def differences(case: Case) -> str:
    """Return the lines that the fix changes."""
    old, new = (ast.unparse(ast.parse(text)).splitlines() for text in (case.source.text, case.fixed))
    return "\n".join(f"    {line}" for line in difflib.ndiff(old, new) if line[0] in "-+")


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases of all given sources."""
    for root in options.bundles:
        yield from bundles(root, options.seen, options.only)
    for file in options.mutants:
        yield from mutated(file, options.draws, options.seed, options.bugs)
    for file in options.pairs:
        yield from (case for case in pairs(file) if not options.only or case.name in options.only)


def main() -> int:
    """Measure the reach of all cases and print it."""
    parser = program.parser(__doc__)
    parser.add_argument("--bundles", type=Path, nargs="*", default=[])
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--mutants", type=Path, nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bugs", nargs="*", default=[], metavar="CLASS", help="these classes of bench/bugs.py alone")
    parser.add_argument("--seen", type=Path)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--verbose", action="store_true", help="show the fix, and what stands before it")
    options = parser.parse_args()
    rows = []
    for case in cases(options):
        found = candidates(case, options.effort)
        rank = rank_of(case, found)
        several = None if rank or case.kind else steps_to(case, found)
        rows.append((case, rank, found, several))
        said = found[rank - 1].note if rank else f"several: {several}" if several else "not reached"
        print(f"{case.name:24} {rank or '-':>6} of {len(found):6}  {said}", flush=True)
        if options.verbose:
            print(differences(case))
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
