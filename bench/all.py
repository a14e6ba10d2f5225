"""bench/all: every benchmark in one run: tables on the terminal, as Markdown, and as one HTML file with plots.

    python bench/all.py [--quick] [--million] [--only NAME …] [--html FILE] [--markdown FILE] [--docs FILE]

Each part is a program of its own, with a time limit of its own; one that fails or takes too long is reported with its
last words, and the rest goes on (then the exit status is 1), until --minutes for the whole are over. Nothing is left of
any of them (bench/kept.py). The peers and pygal are packages that nothing else needs: they are installed into
build/bench/environment, hash-pinned (deploy/lock/bench.txt), and everything runs there. Where that cannot be made, the
peers and plots are left out with a word, and so is a peer of Debian's (nq, task-spooler) where it is not installed. The
parts and the minutes that they may take:
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]
import kept
from machine import machine
from page import Plot, Section, filled, page
from program import parser

ENVIRONMENT = ROOT / "build/bench/environment"
# The journal is what mkfs.ext4 makes on a disk of 128 GB and more.
DISK = ("disk.py", "--flush-ms", "1", "--size-mb", "4096", "--journal-mb", "1024", "--", "python")


@dataclass(frozen=True)
class Part:
    """One program: its arguments, those of a quick run, the seconds that it may take."""

    name: str
    title: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    limit_s: float
    plots: tuple[Plot, ...] = ()
    million: tuple[str, ...] = ()  # what --million adds, and the seconds that this may take
    million_s: float = 0.0


PARTS = (
    Part(
        "limits",
        "What disk and kernel give at most",
        ("limits.py",),
        ("limits.py", "--seconds", "0.1"),
        150,
        (Plot("limit", 1),),
    ),
    Part(
        "limits-1ms",
        "The same, on a disk whose flush takes 1 ms",
        (*DISK, "bench/limits.py", "--dir", "{}"),
        (*DISK, "bench/limits.py", "--seconds", "0.1", "--dir", "{}"),
        150,
        (Plot("limit", 1),),
    ),
    Part(
        "queues",
        "Queues",
        ("queues.py", "--seconds", "1"),
        ("queues.py", "--seconds", "0.1", "--waiting", "0", "1000"),
        400,
        (Plot("queue, durable", 4), Plot("queue, relaxed", 4), Plot("queue, backlog", 4, (0, 2))),
    ),
    Part(
        "queues-1ms",
        "Queues, on a disk whose flush takes 1 ms",
        (*DISK, "bench/queues.py", "--seconds", "1", "--waiting", "--dir", "{}"),
        (*DISK, "bench/queues.py", "--seconds", "0.2", "--waiting", "--dir", "{}"),
        200,
        (Plot("queue, durable", 4), Plot("queue, durable", 8)),
    ),
    Part(
        "backlog",
        "Our queue as its backlog grows",
        (
            *("queues.py", "--no-rates", "--only", "repairlab", "--fill", "300"),
            *("--waiting", "0", "1000", "10000", "100000"),
        ),
        ("queues.py", "--no-rates", "--only", "repairlab", "--seconds", "0.5", "--waiting", "0", "1000", "10000"),
        120,
        (Plot("queue, backlog", 7, (2,)), Plot("queue, backlog", 8, (2,))),
        ("1000000",),
        500,
    ),
    Part(
        "latency",
        "From a drop to its claim and its agent",
        ("latency.py", "--samples", "100"),
        ("latency.py", "--samples", "20", "--waiting", "0", "1000"),
        300,
        (Plot("waiting", 3, (0, 1)), Plot("waiting", 8, (0, 1))),
    ),
    Part(
        "handoff",
        "A whole handoff",
        ("handoff.py",),
        ("handoff.py", "--samples", "3"),
        120,
        (Plot("stage", 1), Plot("stage", 4)),
    ),
    Part("idle", "With nothing to do", ("idle.py",), ("idle.py", "--seconds", "5", "--starts", "3"), 120),
    Part("hints", "Hearing of a rename", ("hints.py",), ("hints.py", "--arrivals", "20"), 40, (Plot("watch", 2),)),
    Part("sandbox", "Starting a sandbox", ("sandbox.py",), ("sandbox.py", "--samples", "10"), 40, (Plot("tier", 1),)),
    Part(
        "mutants",
        "Candidates a second, beside mutation testers",
        ("mutants.py", "--store", str(ROOT / "build/bench")),
        (
            *("mutants.py", "--store", str(ROOT / "build/bench"), "--cosmic-ray", "10"),
            *("--file", "toolz/recipes.py", "--tests", "toolz/tests/test_recipes.py"),
        ),
        600,
        (Plot("judged by", 2),),
    ),
)


def environment() -> Path | None:
    """Return the interpreter that has the peers, made where it is not there; None where it cannot be had."""
    python, lock = ENVIRONMENT / "bin/python", ROOT / "deploy/lock/bench.txt"
    stamp = ENVIRONMENT / "lock.txt"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return python
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    print(f"bench: installing {lock.relative_to(ROOT)}", file=sys.stderr, flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=False)
    install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock]
    if made.returncode or subprocess.run(install, check=False).returncode:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        print("bench: the peers cannot be installed and are left out; so are the plots", file=sys.stderr)
        return None
    stamp.write_bytes(lock.read_bytes())
    return python


def ran(arguments: tuple[str, ...], limit_s: float) -> tuple[str, str]:
    """Run a part, so that nothing is left of it; return what it printed, and why it is not whole ('' where it is)."""
    if limit_s < 1:
        return "", "no time was left for it"
    words = [sys.executable if word == "python" else word for word in arguments]
    program = [str(ROOT / "bench" / words[0]), *(str(ROOT / w) if w.startswith("bench/") else w for w in words[1:])]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "bench/kept.py"), str(limit_s), sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as keeper:
        try:
            out, err = keeper.communicate()
        except BaseException:  # Ctrl-C: nobody but the keeper can end what it keeps
            keeper.terminate()
            keeper.communicate()
            raise
    if keeper.returncode == kept.LATE:
        return out.strip(), f"it took more than {limit_s:.0f} s"
    last = err.strip().splitlines()[-1:]
    return out.strip(), ": ".join([f"it ended with {keeper.returncode}", *last]) if keeper.returncode else ""


def measured(parts: list[Part], options: argparse.Namespace) -> list[Section]:
    """Run the parts one after the other, and print each as soon as it is there."""
    sections, million = [], options.million and not options.quick
    end = time.monotonic() + options.minutes * 60
    for part in parts:
        arguments = part.quick if options.quick else part.full + (part.million if million else ())
        limit_s = part.limit_s + (part.million_s if million else 0)
        began = time.monotonic()
        text, why = ran(arguments, min(limit_s, end - began))
        sections.append(Section(part.name, part.title, part.plots, text, why))
        print(f"## {part.title}\n\n{text}\n", flush=True)
        if why:
            print(f"**not whole: {why}**\n", flush=True)
        print(f"bench: {part.name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return sections


def main() -> int:
    told = "".join(f"    {part.name:12}{part.limit_s / 60:4.1f}  {part.title}\n" for part in PARTS)
    made = parser(f"{__doc__}\n{told}")
    made.add_argument("--quick", action="store_true", help="small sizes: do the programs work? The figures mean little")
    made.add_argument("--million", action="store_true", help="a backlog of 1,000,000 as well, some minutes more")
    made.add_argument("--minutes", type=float, default=30, help="that the whole may take (default: 30)")
    made.add_argument("--only", nargs="*", default=[part.name for part in PARTS], metavar="NAME")
    made.add_argument("--html", type=Path, default=ROOT / "build/bench/bench.html")
    made.add_argument("--markdown", type=Path, default=ROOT / "build/bench/bench.md")
    made.add_argument(
        "--docs", type=Path, help="a document (docs/performance.md) to put the figures into, at its marks"
    )
    options = made.parse_args()
    inside = environment()
    if inside is not None and Path(sys.prefix) != ENVIRONMENT:
        os.execv(inside, [str(inside), *sys.argv])
    wanted = [part for part in PARTS if part.name in options.only]
    began = machine(ROOT)
    sections = measured(wanted, options)
    text = "\n\n".join(
        f"## {each.title}\n\n{each.text}" + (f"\n\n**not whole: {each.why}**" if each.why else "") for each in sections
    )
    for path, content in ((options.markdown, f"{began}\n\n{text}\n"), (options.html, page(began, sections))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"bench: {path}", file=sys.stderr)
    if options.docs:
        options.docs.write_text(filled(options.docs.read_text(encoding="utf-8"), sections), encoding="utf-8")
    return 1 if any(each.why for each in sections) else 0


if __name__ == "__main__":
    sys.exit(main())
