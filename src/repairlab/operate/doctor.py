"""doctor: `repairlab doctor`: try everything that RepairLab needs; say ok, warn or fail, why, and the exact fix.

A check never guesses where it can try: sandboxes are started, directories written to, inotify instances made. `fail`
means that jobs will not run, `warn` that they run worse or less safely. The exit code is 1 if anything failed.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import click

from repairlab.errors import NegativeAnswer, RepairLabError, UsageError
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command
from repairlab.operate.checks import Check, Status, machine, people, programs, state

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


@command("doctor")
@click.option("--only", metavar="NAME", multiple=True, help="Only the checks whose name begins so; may be repeated.")
def doctor_command(app: App, only: tuple[str, ...]) -> Answer:
    """Check what RepairLab needs, and say how to mend it.

    Columns: STATUS (ok, warn, fail), NAME, WHY, FIX. Exit 1 if anything failed.
    """
    names = [name for name, _ in _all(app)]
    if unknown := [name for name in only if not any(known.startswith(name) for known in names)]:
        raise UsageError(f"there is no check {unknown[0]!r}", fix=f"name one of {', '.join(names)}")
    found = list(checks(app, only))
    failed = [check.name for check in found if check.status is Status.FAIL]
    error = NegativeAnswer(f"{output.plural(len(failed), 'check')} failed: {', '.join(failed)}") if failed else None
    return Answer(data=found, text=_lines(found), error=error)


def checks(app: App, only: Iterable[str] = ()) -> Iterator[Check]:
    """Yield every check's result; a check that cannot be made has failed and hides no other."""
    wanted = tuple(only)
    for name, check in _all(app):
        if wanted and not name.startswith(wanted):
            continue
        try:
            yield from check()
        except RepairLabError as error:
            yield Check(name, Status.FAIL, error.message, error.fix)
        except OSError as error:
            yield Check(name, Status.FAIL, str(error), f"make this work for the user who runs {name}")


def _all(app: App) -> list[tuple[str, Callable[[], Iterable[Check]]]]:
    bind = functools.partial
    return [
        ("python", programs.python),
        ("packages", programs.packages),
        ("journal", programs.journal),
        ("config", programs.configuration),
        ("sandbox", bind(programs.sandboxes, app)),
        ("state", bind(state.directory, app)),
        ("queue", bind(state.queues, app)),
        ("bundles", bind(state.bundle_roots, app)),
        ("people", bind(people.sharing, app)),
        ("disk", bind(state.disk, app)),
        ("inotify", machine.inotify),
        ("clock", machine.clock),
        ("memory", bind(machine.memory, app)),
        ("watcher", bind(machine.watcher, app)),
        ("linger", machine.linger),
        ("escalations", bind(state.escalations, app)),
    ]


def _lines(found: list[Check]) -> Iterator[str]:
    """The whole of why and fix on lines of their own: advice that is cut off at the margin helps nobody."""
    import sys

    if not sys.stdout.isatty():
        yield from output.table([], ([check.status, check.name, check.why, check.fix] for check in found))
        return
    width = max(len(check.name) for check in found)
    for check in found:
        status = output.paint(check.status.ljust(4), COLOURS[check.status])
        yield f"{status}  {check.name.ljust(width)}  {output.line(check.why)}"
        if check.fix and check.status is not Status.OK:
            yield f"      {' ' * width}  {output.paint('fix:', 'bold')} {output.line(check.fix)}"
