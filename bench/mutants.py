#!/usr/bin/env python3
"""mutants: the mutants that mutmut makes of a module, judged by mutmut and by the server: wall time, and every verdict.

    bench/mutants.py --store DIR [--library toolz] [--file toolz/itertoolz.py] [--tests toolz/tests/test_itertoolz.py]

mutmut (pinned by hash, with all that it needs; installed by pip into a virtual environment of its own below DIR)
mutates the module and runs pytest -x for each mutant, as its users do. The very same texts then go through one real
server in the real sandbox, as candidates of a bundle whose tests all pass. Both start with nothing but the directory,
and both run the tests once unchanged.

    killed        a test fails (mutmut: ok_killed; a mutant that cannot be imported counts, as with mutmut)
    survived      all tests pass
    timed out     the mutant was ended for the time that it took
    incompetent   it does not compile

Tells by stage what the server's time went into: wall, and CPU of this process, of the process that never runs the
bundle's code (`pristine`), of its forks that collect anew (`fresh`), of the worker that makes candidates (`hot`,
`compile` among it) and of their `forks`.

Prints each mutant on which the two differ; what the server has no such verdict on (lost) differs too. Then the exit
status is 1.

cosmic-ray, where it is installed beside this interpreter, makes its own mutants and judges them for --cosmic-ray
seconds: it can be given no others. Of those that it has judged, the ones that mutmut made too, to the letter, are
compared (it calls a mutant that takes too long killed), and how many each of its operators made is told.
"""

import difflib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]

import program
from libraries import LIBRARIES, unpacked
from machine import machine, table

from repairlab import config
from repairlab.repair.ground import allowances, order_of
from repairlab.repair.search import BATCH
from repairlab.sandbox import SandboxLimits, open_sandbox
from repairlab.sandbox.tree import BundleLimits
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import Edit
from repairlab.trial.validation import Cost, Server, Setup, Verdict

MUTMUT = "mutmut==2.5.1"
PINNED = {  # it and what it needs, each with the sha256 of its wheel, or of its source where it has none
    MUTMUT: "d8fea2538805277f6290922e88881ad045002fc284d5a53c2b3915298b77f79d",
    "click==8.5.1": "8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37",
    "glob2==0.7": "85c3dbd07c8aa26d63d7aacee34fa86e9a91a3873bc30bf62ec46e531f92ab8c",
    "junit-xml==1.9": "ec5ca1a55aefdd76d28fcc0b135251d156c7106fa979686a4b48d62b761b4732",
    "parso==0.8.7": "a8926eb2a1b915486941fdbd31e86a4baf88fe8c210f25f2f35ecec5b574ca1c",
    "pony==0.7.20": "88eb65c940c6efebdc56d2181dc4e5c89650f993f0b27037bbfb3e07b60696ba",
    "six==1.17.0": "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
    "toml==0.10.2": "806143ae5bfb6a3c6e736a764057db0e6a0e05e338b5630894a5f779cabb4f9b",
}
# Runs in mutmut's own environment: (line, index) of each of its mutants → the whole text.
TEXTS = """
import json, sys
from mutmut import Context, list_mutations, mutate
source = open(sys.argv[1], encoding="utf-8").read()
found = []
for one in list_mutations(Context(source=source, filename=sys.argv[1])):
    text, count = mutate(Context(source=source, filename=sys.argv[1], mutation_id=one))
    found.append([one.line, one.index, one.line_number, text if count else source])
json.dump(found, sys.stdout)
"""
STATUSES = {"ok_killed": "killed", "bad_survived": "survived", "bad_timeout": "timed out", "ok_suspicious": "killed"}
VERDICTS = {
    "passed": "survived",
    "same": "survived",
    "failed": "killed",
    "died": "killed",  # pytest ends with a status that is not 0
    "ids": "killed",  # no import, so other tests than before
    "hang": "timed out",
    "syntax": "incompetent",
}


def environment(store: Path) -> Path:
    """Return mutmut's own virtual environment, made where it is not there."""
    place = store / "mutmut-environment"
    if not (place / "bin/mutmut").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        wanted = place / "pinned.txt"
        wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in PINNED.items()))
        command = [place / "bin/pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "--requirement", wanted], check=True)
    return place / "bin"


def by_mutmut(bins: Path, root: Path, file: str, tests: list[str]) -> tuple[list[tuple[str, str]], float]:
    """Return [(text, verdict)] of all mutants, and the seconds that mutmut took."""
    made = subprocess.run([bins / "python", "-c", TEXTS, file], cwd=root, check=True, capture_output=True)
    texts = {(line, index, number): text for line, index, number, text in json.loads(made.stdout)}
    runner = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -p no:randomly {' '.join(tests)}"
    command = [bins / "mutmut", "run", "--paths-to-mutate", file, "--tests-dir", str(Path(tests[0]).parent)]
    began = time.monotonic()
    clean = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{root}:{root / 'src'}"}
    options = ["--runner", runner, "--no-progress", "--simple-output"]
    subprocess.run([*command, *options], cwd=root, env=clean, capture_output=True, check=False)
    seconds = time.monotonic() - began
    with sqlite3.connect(root / ".mutmut-cache") as cache:
        columns = 'Line.line, Mutant."index", Line.line_number, Mutant.status'
        rows = cache.execute(f"select {columns} from Mutant join Line on Mutant.line = Line.id").fetchall()
    return [(texts[line, index, number], STATUSES.get(status, status)) for line, index, number, status in rows], seconds


COSMIC_RAY = """[cosmic-ray]
module-path = "{file}"
timeout = 20.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider -p no:randomly {tests}"
[cosmic-ray.distributor]
name = "local"
"""


Judged = tuple[str, str, str]  # operator, diff, verdict


def by_cosmic_ray(root: Path, file: str, tests: list[str], seconds: float) -> tuple[list[list[str]], list[Judged]]:
    """Return its row, none where it is not installed, and what it judged in so many seconds.

    cosmic-ray keeps a verdict in its database as soon as it has one, so that the rate needs no run to its end.
    """
    program = Path(sys.executable).with_name("cosmic-ray")
    if not program.exists():
        return [], []
    (root / "cosmic.toml").write_text(COSMIC_RAY.format(file=file, python=sys.executable, tests=" ".join(tests)))
    clean = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{root}:{root / 'src'}"}
    session = root / "session.sqlite"
    subprocess.run([program, "init", "cosmic.toml", session], cwd=root, env=clean, check=True, capture_output=True)
    began = time.monotonic()
    # Its pytest has a session of its own: what is not killed would take the time of whoever is measured next.
    kept = [sys.executable, str(ROOT / "bench/kept.py"), str(seconds)]
    command = [*kept, str(program), "exec", "cosmic.toml", str(session)]
    subprocess.run(command, cwd=root, env=clean, capture_output=True, check=False)
    passed = time.monotonic() - began
    with sqlite3.connect(session) as made:
        rows = made.execute(
            "select operator_name, diff, lower(test_outcome) from work_results natural join mutation_specs"
        ).fetchall()
    judged = [(operator.partition("/")[2].partition("_")[0], body(diff), outcome) for operator, diff, outcome in rows]
    version = metadata.version("cosmic-ray")
    told = _counts([verdict for _, _, verdict in judged])
    return [[f"cosmic-ray=={version}, its own", f"{passed:.2f}", f"{len(judged) / passed:.1f}", told]], judged


def body(diff: str) -> str:
    """Return a unified diff without the names of its files."""
    return "\n".join(line.rstrip() for line in diff.splitlines() if not line.startswith(("---", "+++")))


def shared(judged: list[Judged], theirs: list[tuple[str, str]], source: str) -> str:
    """Return what is to be told of the mutants that cosmic-ray has judged and mutmut made, too."""
    lines = source.splitlines()
    known = {
        body("\n".join(difflib.unified_diff(lines, text.splitlines(), lineterm=""))): verdict
        for text, verdict in theirs
    }
    pairs = [(verdict, known[diff]) for _, diff, verdict in judged if diff in known]
    differ = sum(one != ("killed" if other == "timed out" else other) for one, other in pairs)
    made = Counter(operator for operator, _, _ in judged)
    twins = Counter(operator for operator, diff, _ in judged if diff in known)
    told = ", ".join(f"{operator} {twins[operator]} of {made[operator]}" for operator in sorted(made))
    return f"{len(pairs)} of cosmic-ray's {len(judged)} are mutmut's too, {differ} verdicts differ: {told}"


def edit(path: str, old: str, new: str) -> list[Edit]:
    """Return the one smallest span that makes `new` of `old`."""
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    return [Edit(path, first, len(old) - last, new[first : len(new) - last])]


def _alike(one: str, other: str) -> int:
    """Return how many characters both begin with: by halves, since the clock runs and texts are long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def named(verdict: Verdict) -> str:
    """Return the server's verdict in the words above; what is none of them keeps its own word, and so differs."""
    return "lost" if verdict.lost else VERDICTS.get(verdict.verdict, verdict.verdict)


class Watch:
    """Wall and CPU seconds by stage: of this process, and of the sandbox's as they say themselves."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.began = self.wall = time.monotonic()
        self.spent: dict[str, float] = {"agent": time.process_time()}

    def stage(self, name: str, server: Server | None = None) -> None:
        """End a stage; asking the server takes some time, which is no stage's."""
        wall, inside = time.monotonic(), server.cost() if server else Cost()
        now = {"agent": time.process_time()} | {part: getattr(inside, part) for part in inside.__struct_fields__}
        used = [f"{now[part] - self.spent.get(part, 0.0):.2f}" for part in ("agent", *inside.__struct_fields__)]
        self.rows.append([name, f"{wall - self.wall:.2f}", *used])
        self.spent, self.wall = now, time.monotonic()

    @staticmethod
    def heads() -> list[str]:
        """The heads of the columns."""
        return ["stage", "wall s", "CPU s: agent", *Cost.__struct_fields__]


@dataclass(frozen=True)
class Ours:
    """What the server found: the verdicts, the seconds from nothing to the last, and what they went into."""

    verdicts: list[Verdict]
    seconds: float
    watch: Watch

    @property
    def fresh(self) -> int:
        """How many were collected anew."""
        return sum(verdict.fresh for verdict in self.verdicts)


def by_server(root: Path, file: str, tests: list[str], texts: list[str]) -> Ours:
    """Have `texts` judged."""
    watch = Watch()
    settings = config.load()
    bundle = Bundle.read(root, tests=tests, editable=[file], limits=BundleLimits())
    limits = SandboxLimits.from_settings(settings.sandbox, wall_s=600)
    source = bundle.sources[file].text
    with Server(Setup(open_sandbox(settings.sandbox), limits, bundle, None, {}), 600) as server:
        watch.stage("start of the sandbox")
        collected = server.collect(60)
        watch.stage("import of pytest, collection", server)
        runs = server.baseline(range(len(collected.ids)), limit_s=20, wall_s=60, trace=False, plain=False)
        runs = [server.test_run(collected.ids, test) for test in runs.tests]
        order, failing = order_of(runs)
        if failing:
            raise SystemExit(f"{failing} tests fail without any mutant")
        watch.stage("all tests once", server)
        server.baseline(order, limit_s=20, wall_s=60, trace=True, plain=True, brief=order)
        server.plan(order, 0, allowances(runs), collected.ids, [])
        watch.stage("… and traced", server)
        pieces = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
        for piece in pieces:
            server.submit([edit(file, source, text) for text in piece], scale=8.0, partial=1)
        found = [server.result(time.monotonic() + 600) for _ in texts]
        seconds = time.monotonic() - watch.began
        watch.stage("mutants", server)
    return Ours(found, seconds, watch)


def main() -> int:
    """Run both, print both, and say by the exit status whether they agree."""
    parser = program.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--library", default="toolz", choices=LIBRARIES)
    parser.add_argument("--file", default="toolz/itertoolz.py")
    parser.add_argument("--tests", nargs="*", default=["toolz/tests/test_itertoolz.py"])
    parser.add_argument("--cosmic-ray", type=float, default=45.0, help="seconds that cosmic-ray may take")
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    bins = environment(options.store.resolve())
    with tempfile.TemporaryDirectory() as place:
        root = unpacked(LIBRARIES[options.library], options.store, Path(place))
        copy = Path(place) / "ours"
        shutil.copytree(root, copy)
        theirs, slow = by_mutmut(bins, root, options.file, options.tests)
        apart = Path(place) / "cosmic-ray"
        shutil.copytree(copy, apart)
        third, judged = by_cosmic_ray(apart, options.file, options.tests, options.cosmic_ray)
        ours = by_server(copy, options.file, options.tests, [text for text, _ in theirs])
        source = (copy / options.file).read_text(encoding="utf-8")
    differ = 0
    names = [named(verdict) for verdict in ours.verdicts]
    for (text, verdict), mine in zip(theirs, names, strict=True):
        if verdict != mine:
            differ += 1
            (change,) = edit(options.file, source, text)
            was = source[change.start - 30 : change.end + 10]
            print(f"DIFFER mutmut: {verdict}, server: {mine}: {was!r} → {change.text!r}")
    print(f"\n{len(theirs)} mutants of {options.file}, {ours.fresh} of them collected anew; {machine(options.store)}")
    rows = [[MUTMUT, f"{slow:.2f}", f"{len(theirs) / slow:.1f}", _counts([verdict for _, verdict in theirs])]]
    rows += [["server", f"{ours.seconds:.2f}", f"{len(names) / ours.seconds:.1f}", _counts(names)], *third]
    print("\n" + table(["judged by", "wall s, from nothing", "a second", "verdicts"], rows) + "\n")
    print(f"The server's time:\n\n{table(Watch.heads(), ours.watch.rows)}\n")
    print(f"{slow / ours.seconds:.0f} times as fast, {differ} verdicts differ\n")
    if judged:
        print(shared(judged, theirs, source))
    return 1 if differ else 0


def _counts(verdicts: list[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(verdicts).items()))


if __name__ == "__main__":
    sys.exit(main())
