"""shape: `repairlab shape`: unfinished and failed jobs by class and age, as Postfix's qshape shows a mail queue.

One look tells one hopeless producer from a machine that is too slow. The class is the state and, where there is one,
the kind of reason: what stands before the first colon, numbers and paths made equal.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command, queue_option
from repairlab.spool import State

BUCKETS = (("5m", 300), ("1h", 3600), ("6h", 21600), ("1d", 86400), ("3d", 259200), ("7d", 604800))
LABELS = [*(f"<{label}" for label, _ in BUCKETS), f">{BUCKETS[-1][0]}"]
STATES = [state for state in State if state is not State.OK]


@command("shape")
@click.option(
    "--by", type=click.Choice(["class", "lineage", "state"]), default="class", show_default=True, help="Rows."
)
@queue_option()
def shape_command(app: App, by: str, queue: str) -> Answer:
    """Count unfinished and failed jobs by class and age.

    Columns: the class, TOTAL, then one per age, counted from when the job came into its state.
    """
    matrix = shape(views.rows(app.queue(queue), *STATES), by)
    return Answer(data={"buckets": LABELS, "rows": matrix}, text=_lines(matrix, by))


def shape(rows: Iterable[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Return one entry a class, the most frequent first: its total and its counts in the order of the buckets."""
    cells: Counter[tuple[str, int]] = Counter()
    for row in rows:
        cells[_class(row) if by == "class" else str(row[by]), _bucket(row["age_s"])] += 1
    counts = {name: [cells[name, i] for i in range(len(LABELS))] for name, _ in cells}
    ordered = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))
    return [{by: name, "total": sum(row), "counts": row} for name, row in ordered]


def _class(row: dict[str, Any]) -> str:
    kind = (row["reason"] or "").split(": ")[0].split("; ")[0]
    kind = re.sub(r"(?<!\w)/\S+", "PATH", kind)
    kind = re.sub(r"\b[0-9a-f]{12,}\b", "HASH", kind)
    kind = re.sub(r"\d+(\.\d+)?", "N", kind)[:48].strip()
    return f"{row['state']}: {kind}" if kind else str(row["state"])


def _bucket(age_s: float) -> int:
    return next((i for i, (_, limit) in enumerate(BUCKETS) if age_s < limit), len(BUCKETS))


def _lines(matrix: list[dict[str, Any]], by: str) -> Iterator[str]:
    body = [[entry[by], str(entry["total"]), *(str(count or ".") for count in entry["counts"])] for entry in matrix]
    return output.table([by.upper(), "TOTAL", *LABELS], body)
