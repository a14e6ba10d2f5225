"""listing: `repairlab status` and `repairlab list`: where the jobs are."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from repairlab.operate import output, views
from repairlab.operate.app import QUEUES, Answer, App, command, queue_option
from repairlab.spool import State

if TYPE_CHECKING:
    from repairlab.spool import Spool

COLUMNS = ["ID", "STATE", "SINCE", "TRIES", "PRIO", "LINEAGE", "NAME", "REASON"]
NAME = 24  # columns of a name on a terminal
SHORT = 12  # hex digits of an id on a terminal: any unique prefix names a job


@command("status")
def status_command(app: App) -> Answer:
    """Say how many jobs are where, and what is wrong.

    Columns: QUEUE, STATE, COUNT. A missing watcher and a full disk are told on stderr.
    """
    from pathlib import Path

    from repairlab.operate.checks.machine import watchers
    from repairlab.operate.checks.state import escalations_of

    spools = {name: app.spool(name) for name in QUEUES}
    counts = {}
    for name, spool in spools.items():
        with suppress(PermissionError):  # submitters see nothing of the challengers
            if Path(spool.path).is_dir():
                counts[name] = spool.counts()
    data: dict[str, Any] = {
        "root": app.root,
        "queues": {name: {str(state): count for state, count in found.items()} for name, found in counts.items()},
        "watchers": watchers(app.root),
        "free_bytes": _free_bytes(app),
        "escalations": escalations_of(app.root),
    }
    _complain(app, data)
    return Answer(data=data, text=_status_lines(data["queues"]))


def _free_bytes(app: App) -> int | None:
    try:
        told = os.statvfs(app.root)
    except FileNotFoundError:
        return None
    return told.f_bavail * told.f_frsize


def _complain(app: App, data: dict[str, Any]) -> None:
    if not data["queues"]:
        output.say(f"repairlab: nothing has been handed in at {app.root} yet")
    if not data["watchers"]:
        output.say("repairlab: no watcher runs: jobs wait; `repairlab doctor --only watcher` says how to start one")
    if data["escalations"]:
        more = len(data["escalations"]) - 1
        others = f" ({more} more: `repairlab doctor --only escalations`)" if more else ""
        output.say(f"repairlab: a unit failed: read {data['escalations'][-1]}, then remove it{others}")
    floor = app.settings.watcher.min_free_mb << 20
    if data["free_bytes"] is not None and data["free_bytes"] < floor:
        free = output.size(data["free_bytes"])
        output.say(f"repairlab: only {free} free: nothing is claimed below {output.size(floor)}")


def _status_lines(queues: dict[str, dict[str, int]]) -> Iterator[str]:
    rows = [[queue, state, str(count)] for queue, states in queues.items() for state, count in states.items()]
    return output.table(["QUEUE", "STATE", "COUNT"], rows, colours=lambda row: _colour(row[1], int(row[2])))


def _colour(state: str, count: int) -> str:
    return views.COLOURS.get(State(state), "") if count else "dim"


@command("list")
@click.argument("states", metavar="[STATE]...", nargs=-1, type=click.Choice([str(state) for state in State]))
@click.option("--lineage", help="Only jobs of this lineage.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the N that moved last.")
@queue_option()
def list_command(app: App, states: tuple[str, ...], lineage: str | None, limit: int | None, queue: str) -> Answer:
    """List jobs, one a line.

    Columns: ID, STATE, SINCE, TRIES, PRIO, LINEAGE, NAME, REASON; what moved last stands at the end. States: waiting,
    active, deferred, hold, ok, hard_fail, rejected; all unless named. Off a terminal the columns are separated by tabs
    and nothing is cut: `repairlab list hard_fail | repairlab retry -`.
    """
    wanted = [State(state) for state in states] or list(State)
    spool = app.queue(queue)
    readable = list(views.rows(spool, *wanted))
    if others := _others(spool, wanted, len(readable)):
        output.say(f"repairlab: {output.plural(others, 'job')} of others not shown")
    found = [row for row in readable if lineage in (None, row["lineage"])]
    found.sort(key=lambda row: row["since"])
    found = found[-limit:] if limit else found
    return Answer(data=found, text=_list_lines(found))


def _others(spool: "Spool", states: list[State], readable: int) -> int:
    """Return about how many jobs there are that this person may not read; costs names only, and nothing an owner."""
    if not spool.visited:
        return 0
    counts = spool.counts()
    return max(0, sum(counts[state] for state in states) - readable)


def _short(row: dict[str, Any]) -> str:
    """Return what a name says beyond the id, in few columns."""
    name = "-" if row["id"] in row["name"] else row["name"]
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _list_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    import sys

    terminal = sys.stdout.isatty()
    now = time.time()

    def cells(row: dict[str, Any]) -> list[str]:
        since = output.age(now - row["since"].timestamp()) if terminal else output.instant(row["since"])
        job_id = row["id"][:SHORT] if terminal else row["id"]
        name = _short(row) if terminal else row["name"]  # or the reason, which matters more, falls off the margin
        middle = [str(row["attempts"]), str(row["priority"]), row["lineage"], name]
        return [job_id, row["state"], since, *middle, row["reason"] or ""]

    return output.table(COLUMNS, map(cells, found), colours=lambda row: views.COLOURS.get(State(row[1]), ""))
