"""bench/machine: what a figure was measured on, in general words, and how tables are printed."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path


def machine(path: Path) -> str:
    """Return cores, memory, kernel, Python, and the file system that `path` is on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores (load {load:.1f}), {memory} GiB, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {file_system(path)}"
    )


def file_system(path: Path) -> str:
    """Return the type of the file system, from the longest mount point above the path."""
    found = ("", "?")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split()
        if path.resolve().is_relative_to(mounted) and len(mounted) >= len(found[0]):
            found = (mounted, kind)
    return found[1]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and the least and the largest in brackets."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in
                    (task / "children").read_text().split()]  # fmt: skip
    except FileNotFoundError:
        return []
    return [pid, *(each for child in children for each in family(child))]


def resident_mib(pid: int) -> float:
    """Return what a process has in memory (RSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def shared_mib(pids: Sequence[int]) -> float:
    """Return the proportional set size of processes together (PSS): what they share counts once."""
    kib = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join([line(head, widths), rule(widths), *(line(row, widths) for row in rows)])


def growing(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> None:
    """Print a Markdown table, each row as soon as it is there; `widths` are those of the first columns, at least."""
    padded = [*widths, *[0] * (len(head) - len(widths))]
    widest = [max(len(cell), width) for cell, width in zip(head, padded, strict=True)]
    print(f"{line(head, widest)}\n{rule(widest)}", flush=True)
    for row in rows:
        print(line(row, widest), flush=True)
    print(flush=True)


def line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


def rule(widths: Sequence[int]) -> str:
    return "|" + "|".join("-" * (width + 2) for width in widths) + "|"
