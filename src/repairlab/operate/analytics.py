"""analytics: `repairlab analytics`: how well repairs go, from the ended jobs that are still kept.

A job counts as repaired when a patch was applied and verified. A bundle that passed as it came (`noop`) was not
repaired and is no success; what was rejected was never tried. Neither is part of the success rate.
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from repairlab.operate import output, views
from repairlab.operate.app import Answer, App, command
from repairlab.spool import State

REASONS = 5
KINDS = ("repaired", "noop", "given_up", "rejected")


@command("analytics")
@click.option(
    "--hours", type=click.FloatRange(min=0.01), default=24.0, show_default=True, metavar="H", help="The recent window."
)
def analytics_command(app: App, hours: float) -> Answer:
    """Say how well repairs go: success, strategies, attempts, time, quarantine.

    Columns: WHAT, LAST (jobs that ended within the last H hours), ALL (all ended jobs that are kept). The success rate
    is repaired / (repaired + given up): a bundle that passed as it came is no repair, and what was rejected was never
    tried.
    """
    now = time.time()
    ended = [_ended(job, row) for job, row in _jobs(app)]
    recent = [row for row in ended if now - row["at"] <= hours * 3600]
    data = {"hours": hours, "last": summed(recent), "all": summed(ended)}
    return Answer(data=data, text=_lines(data))


def _jobs(app: App) -> Iterator[tuple[Any, dict[str, Any]]]:
    for job in app.queue().jobs(*views.ENDED):
        try:
            yield job, views.row(job)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # expired meanwhile, or another's


def _ended(job: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Return what the sums need of one ended job."""
    told = views.telemetry(job) or {}
    strategy = str(told.get("strategy") or "unknown")
    kind = {State.REJECTED: "rejected", State.HARD_FAIL: "given_up"}.get(job.state, "repaired")
    if job.state is State.OK and strategy == "noop":
        kind = "noop"
    return {
        "at": row["since"].timestamp(),
        "kind": kind,
        "strategy": strategy,
        "attempts": row["attempts"],
        "wall_s": row["wall_s"],
        "reason": (row["reason"] or "").split(";")[0][:100],
    }


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of some jobs; rates and times are None where there is nothing to take them of."""
    kinds = Counter(row["kind"] for row in rows)
    repaired = [row for row in rows if row["kind"] == "repaired"]
    tried = kinds["repaired"] + kinds["given_up"]
    return {
        "ended": len(rows),
        **{kind: kinds[kind] for kind in KINDS},
        "success_rate": round(kinds["repaired"] / tried, 4) if tried else None,
        "strategies": dict(Counter(row["strategy"] for row in repaired).most_common()),
        "attempts_median": _median(row["attempts"] for row in repaired),
        "wall_s_median": _median(row["wall_s"] for row in repaired),
        "wall_s_p95": _percentile([row["wall_s"] for row in repaired], 0.95),
        "quarantine": dict(Counter(row["reason"] for row in rows if row["kind"] == "given_up").most_common(REASONS)),
    }


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(statistics.median(found), 3) if found else None


def _percentile(values: list[float], share: float) -> float | None:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3) if values else None


def _lines(data: dict[str, Any]) -> Iterator[str]:
    last, whole = data["last"], data["all"]
    rows = [[name, str(last[name]), str(whole[name])] for name in ("ended", *KINDS)]
    rows.append(["success_rate", *(_share(part["success_rate"]) for part in (last, whole))])
    rows += [[name, *(_number(part[name]) for part in (last, whole))] for name in ("attempts_median",)]
    rows += [[name, *(_seconds(part[name]) for part in (last, whole))] for name in ("wall_s_median", "wall_s_p95")]
    for group in ("strategies", "quarantine"):
        names = [*whole[group], *(name for name in last[group] if name not in whole[group])]
        rows += [[f"{group}: {name}", *(str(part[group].get(name, 0)) for part in (last, whole))] for name in names]
    return output.table(["WHAT", f"LAST {data['hours']:g} H", "ALL"], rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else output.duration(value)
