"""bench/figures: the tables of the repair benches: shares, halves, misses by cause, what changed since last time."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from machine import machine, table

SHARES = (
    ("plausible", "ok", None),
    ("patched", "patched", None),
    ("top-1 passes the judge", "judged", None),
    ("top-1 passes and agrees", "agrees", None),
    ("… of the patched", "agrees", "patched"),
    ("top-1 is the reference", "same", None),
    ("one of those shown agrees", "listed", None),
    ("… of the patched", "listed", "patched"),
)
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.01)
WATCHED = ("ok", "agrees", "listed")


def cause(row: dict) -> str:
    """Return why a case was missed; `place` is that of the reference's edit among the candidates."""
    if row.get("rejected"):
        return "false reject"
    if row.get("late"):
        return "not known"
    if row["ok"]:
        return "rank" if row["place"] else "space"
    if row["reason"] == "exhausted" and row["place"]:  # the reference was tried, unless the search stopped before it
        return "false reject" if (row["attempts"] or 0) >= row["place"] else "time"
    if row["reason"] in ("exhausted", "deadline", "interrupted"):
        return "time" if row["place"] else "space"
    return str(row["reason"])


def why(row: dict) -> str:
    """Return the cause of a miss as a line about its case ends with it, in brackets; nothing where none was missed."""
    if not row["cause"]:
        return ""
    return f"[{row['cause']} {row['place'] or ''} {row.get('rejected') or row.get('late') or ''}] "


def report(rows: Sequence[dict], title: str, shares: Sequence[tuple[str, str, str | None]] = SHARES) -> str:
    """Return the tables of one run."""
    head = ["", "all", "", "half A", "half B"]
    groups = [rows, [row for row in rows if row["half"] == "A"], [row for row in rows if row["half"] == "B"]]
    body = []
    for name, key, of in shares:
        counts = [counted(group, key, of) for group in groups]
        cells = [f"{part / whole:.1%}" if whole else "-" for part, whole in counts]
        body.append([name, f"{counts[0][0]} of {counts[0][1]}", *cells])
    return "\n".join(
        [
            "",
            f"{len(rows)} cases, {title}; {machine(Path.cwd())}",
            table(head, body),
            *speeds(rows),
            spent(rows),
            *reliability(rows),
            misses(rows),
        ]
    )


def reliability(rows: Sequence[dict]) -> list[str]:
    """Return how often first patches of each confidence were right."""
    told = [row for row in rows if row["patched"] and row.get("confidence") is not None and "agrees" in row]
    body = []
    for low, high in pairwise(BINS):
        those = [row for row in told if low <= row["confidence"] < high]
        if those:
            mean = statistics.fmean(row["confidence"] for row in those)
            right = sum(row["agrees"] for row in those)
            body.append(
                [
                    f"{low:.2f} to {min(high, 1):.2f}",
                    f"{mean:.2f}",
                    f"{right} of {len(those)}",
                    f"{right / len(those):.2f}",
                ]
            )
    return ["", table(["confidence", "mean", "first patch right", "share"], body)] if body else []


def counted(rows: Sequence[dict], key: str, of: str | None) -> tuple[int, int]:
    """Return how many of those rows that have `of` have `key`, and how many they are."""
    those = [row for row in rows if of is None or row.get(of)]
    return sum(bool(row.get(key)) for row in those), len(those)


def speeds(rows: Sequence[dict]) -> list[str]:
    """Return the lines on attempts and times, as far as there is anything to tell."""
    patched = [row for row in rows if row["patched"]]
    told: list[tuple[str, list[dict], Callable[[dict], float | None], str]] = [
        ("median candidates tried, of the patched", patched, lambda row: row["attempts"], ".0f"),
        ("median seconds to the first plausible patch", patched, lambda row: timing(row, "first_s"), ".2f"),
        ("median seconds of search, of the patched", patched, lambda row: timing(row, "search_s"), ".2f"),
        ("median wall seconds, of the patched", patched, lambda row: row["wall_s"], ".2f"),
        ("median candidates per second", list(rows), lambda row: row["candidates_per_s"], ".0f"),
    ]
    lines = []
    for name, those, value, form in told:
        values = [found for row in those if (found := value(row))]
        if values:
            lines.append(f"{name}: {statistics.median(values):{form}}")
    return lines


def spent(rows: Sequence[dict]) -> str:
    """Return where the seconds of the run went: only the agent's are the product's."""
    names = (("agent", "wall_s"), ("judges and comparisons", "judge_s"), ("probes", "probe_s"))
    return "seconds in all: " + ", ".join(
        f"{name} {sum(row.get(key) or 0.0 for row in rows):.0f}" for name, key in names
    )


def timing(row: dict, name: str) -> float | None:
    return (row["timings"] or {}).get(name)


def misses(rows: Sequence[dict]) -> str:
    """Return the count of each cause, with the names of its cases."""
    causes = Counter(row["cause"] for row in rows if row["cause"])
    lines = [
        f"  {name:14} {count:3}  {' '.join(row['task'] for row in rows if row['cause'] == name)}"
        for name, count in sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    ]
    return "\n".join(["misses by cause:", *(lines or ["  none"])])


def grouped(rows: Sequence[dict], key: str) -> str:
    """Return how many cases of each library, or each class of bugs, were repaired, and why the others were not."""
    body = []
    for name in sorted({row[key] for row in rows}):
        those = [row for row in rows if row[key] == name]
        causes = Counter(row["cause"] for row in those if row["cause"])
        told = ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items()))
        good = sum(bool(row["agrees"]) for row in those)
        body.append([name, f"{good} of {len(those)}", f"{good / len(those):.0%}", told])
    return table([key, "repaired", "", "misses"], body)


def compared(old: Sequence[dict], new: Sequence[dict]) -> str:
    """Return which cases were gained and lost since `old`, among those that both runs have."""
    before = {row["task"]: row for row in old}
    lines = ["against the earlier run:"]
    for key in WATCHED:
        both = [row for row in new if row["task"] in before]
        gained = [row["task"] for row in both if row.get(key) and not before[row["task"]].get(key)]
        lost = [row["task"] for row in both if not row.get(key) and before[row["task"]].get(key)]
        lines.append(f"  {key:8} +{len(gained)} {' '.join(gained)}  -{len(lost)} {' '.join(lost)}")
    both_patched = [row for row in new if row["patched"] and before.get(row["task"], {}).get("patched")]
    ratios = [
        row["attempts"] / before[row["task"]]["attempts"] for row in both_patched if before[row["task"]]["attempts"]
    ]
    if ratios:
        lines.append(f"  candidates tried where both patch: {statistics.geometric_mean(ratios):.2f} times the earlier")
    return "\n".join(lines)
