"""bench/all: every benchmark in one run: tables on the terminal, as Markdown, and as one HTML file with plots.

    python bench/all.py [--quick] [--only NAME …] [--html FILE] [--markdown FILE] [--docs FILE]

Each part is a program of its own, with a time limit of its own; one that fails or takes too long is reported with its
last words, and the rest goes on (then the exit status is 1). Nothing is left of any of them (bench/kept.py). The peers
and pygal are packages that nothing else needs: they are installed into build/bench/environment, hash-pinned
(deploy/lock/bench.txt), and everything runs there. Where that cannot be made, peers and plots are left out with a word,
and so is a peer that Debian packages (nq, task-spooler) where it is not installed. The parts and the minutes that they
may take:
"""

import html
import os
import re
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
from program import parser

ENVIRONMENT = ROOT / "build/bench/environment"
DISK = ("disk.py", "--flush-ms", "1", "--size-mb", "4096", "--", "python")


@dataclass(frozen=True)
class Part:
    """One program: its arguments, those of a quick run, the seconds that it may take."""

    name: str
    title: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    limit_s: float
    plots: tuple[tuple[str, int], ...] = ()  # (first head of a table, column)


PARTS = (
    Part(
        "limits",
        "What disk and kernel give at most",
        ("limits.py",),
        ("limits.py", "--seconds", "0.1"),
        150,
        (("limit", 1),),
    ),
    Part(
        "limits-1ms",
        "The same, on a disk whose flush takes 1 ms",
        (*DISK, "bench/limits.py", "--dir", "{}"),
        (*DISK, "bench/limits.py", "--seconds", "0.1", "--dir", "{}"),
        150,
        (("limit", 1),),
    ),
    Part(
        "queues",
        "Queues",
        ("queues.py", "--seconds", "1"),
        ("queues.py", "--seconds", "0.1", "--waiting", "0", "1000"),
        300,
        (("queue, durable", 4), ("queue, relaxed", 4)),
    ),
    Part(
        "queues-1ms",
        "Queues, on a disk whose flush takes 1 ms",
        (*DISK, "bench/queues.py", "--seconds", "1", "--waiting", "--dir", "{}"),
        (*DISK, "bench/queues.py", "--seconds", "0.2", "--waiting", "--dir", "{}"),
        120,
        (("queue, durable", 4), ("queue, durable", 8)),
    ),
    Part(
        "backlog",
        "Our queue as its backlog grows",
        (
            *("queues.py", "--no-rates", "--only", "repairlab", "--fill", "300"),
            *("--waiting", "1000", "10000", "100000", "1000000"),
        ),
        ("queues.py", "--no-rates", "--only", "repairlab", "--waiting", "1000", "10000", "--seconds", "0.5"),
        480,
        (("queue, backlog", 6),),
    ),
    Part(
        "latency",
        "From a drop to its claim and its agent",
        ("latency.py", "--samples", "100"),
        ("latency.py", "--samples", "20", "--waiting", "0", "1000"),
        240,
    ),
    Part("handoff", "A whole handoff", ("handoff.py",), ("handoff.py", "--samples", "3"), 120, (("stage", 1),)),
    Part("idle", "With nothing to do", ("idle.py",), ("idle.py", "--seconds", "5", "--starts", "3"), 120),
    Part("hints", "Hearing of a rename", ("hints.py",), ("hints.py", "--arrivals", "20"), 40),
    Part("sandbox", "Starting a sandbox", ("sandbox.py",), ("sandbox.py", "--samples", "10"), 40),
    Part(
        "mutants",
        "Candidates a second, beside mutation testers",
        ("mutants.py", "--store", str(ROOT / "build/bench")),
        (),
        300,
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


def ran(part: Part, arguments: tuple[str, ...]) -> tuple[str, str]:
    """Run a part, so that nothing is left of it; return what it printed, and why it is not whole ('' where it is)."""
    words = [sys.executable if word == "python" else word for word in arguments]
    program = [str(ROOT / "bench" / words[0]), *(str(ROOT / w) if w.startswith("bench/") else w for w in words[1:])]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/kept.py"), str(part.limit_s), sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1:]
    if done.returncode == kept.LATE:
        return done.stdout.strip(), f"it took more than {part.limit_s:.0f} s"
    return done.stdout.strip(), ": ".join([f"it ended with {done.returncode}", *last]) if done.returncode else ""


def tables(text: str) -> list[list[list[str]]]:
    """Return the rows of each Markdown table in the text, its head first."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.splitlines()
            if not line.startswith("|-")
        ]
        for block in blocks
    ]


def number(cell: str) -> float | None:
    """Return the first number of a cell."""
    found = re.match(r"[\d,]*\.?\d+", cell)
    return float(found[0].replace(",", "")) if found else None


def plotted(part: Part, text: str) -> list[str]:
    """Return the plots of a part as SVG."""
    try:
        import pygal
    except ImportError:
        return []
    drawn = []
    for first, column in part.plots:
        for head, *rows in [found for found in tables(text) if found[0][0] == first]:
            points = [(row[0] if first != "queue, backlog" else row[2], number(row[column])) for row in rows]
            points = [(label, value) for label, value in points if value]
            if not points:
                continue
            many = max(value for _, value in points) > 100 * min(value for _, value in points)
            config = {"js": [], "show_legend": False, "print_values": True, "disable_xml_declaration": True}
            chart = pygal.HorizontalBar(
                **config, logarithmic=many, title=f"{first}: {head[column]}", height=60 + 34 * len(points)
            )
            chart.x_labels = [label for label, _ in points]
            chart.add(head[column], [value for _, value in points])
            drawn.append(chart.render(is_unicode=True))
    return drawn


def as_html(text: str) -> str:
    """Return the text of a part with its tables as HTML."""
    made, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        block = []
        while at < len(lines) and lines[at].startswith("|"):
            block.append(lines[at])
            at += 1
        if block:
            head, *rows = tables("\n".join(block))[0]
            body = [("th", head), *(("td", row) for row in rows)]
            made += [
                "<table>",
                *(f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>" for tag, row in body),
                "</table>",
            ]
        elif lines[at].strip():
            made.append(f"<p>{html.escape(lines[at])}</p>")
            at += 1
        else:
            at += 1
    return "\n".join(made)


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left}
td:not(:first-child){font-variant-numeric:tabular-nums}.bad{color:#a00}svg{max-width:60em;height:auto}"""


def page(told: str, sections: list[tuple[Part, str, str]]) -> str:
    parts = [f"<!doctype html><meta charset=utf-8><title>RepairLab: benchmarks</title><style>{STYLE}</style>"]
    parts.append(f"<h1>RepairLab: benchmarks</h1><p>{html.escape(told)}</p>")
    for part, text, why in sections:
        parts.append(f"<h2>{html.escape(part.title)}</h2>")
        parts += [f"<p class=bad>not whole: {html.escape(why)}</p>"] if why else []
        parts += [as_html(text), *plotted(part, text)]
    return "\n".join(parts)


def filled(document: str, sections: list[tuple[Part, str, str]]) -> str:
    """Return a document with what each part printed between its two marks; a part that is not whole changes nothing."""
    for part, text, why in sections:
        if not why:
            marks = rf"(<!-- bench {part.name} -->\n).*?(<!-- end -->)"
            document = re.sub(
                marks, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", document, flags=re.DOTALL
            )
    return document


def measured(parts: list[Part], quick: bool) -> list[tuple[Part, str, str]]:
    """Run the parts one after the other, and print each as soon as it is there."""
    sections = []
    for part in parts:
        arguments = part.quick if quick else part.full
        if not arguments:
            continue
        began = time.monotonic()
        text, why = ran(part, arguments)
        sections.append((part, text, why))
        print(f"## {part.title}\n\n{text}\n", flush=True)
        if why:
            print(f"**not whole: {why}**\n", flush=True)
        print(f"bench: {part.name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return sections


def main() -> int:
    told = "".join(f"    {part.name:12}{part.limit_s / 60:4.1f}  {part.title}\n" for part in PARTS)
    made = parser(f"{__doc__}\n{told}")
    made.add_argument("--quick", action="store_true", help="small sizes: do the programs work? The figures mean little")
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
    sections = measured(wanted, options.quick)
    text = "\n\n".join(
        f"## {part.title}\n\n{text}" + (f"\n\n**not whole: {why}**" if why else "") for part, text, why in sections
    )
    for path, content in ((options.markdown, f"{began}\n\n{text}\n"), (options.html, page(began, sections))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"bench: {path}", file=sys.stderr)
    if options.docs:
        options.docs.write_text(filled(options.docs.read_text(encoding="utf-8"), sections), encoding="utf-8")
    return 1 if any(why for _, _, why in sections) else 0


if __name__ == "__main__":
    sys.exit(main())
