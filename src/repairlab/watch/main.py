"""repairlab-queue-watcher: claim what is dropped into the repair queue and carry each job to its end.

    repairlab-queue-watcher [--once] [--root DIR] [--concurrency N]

Files: <root>/spool/repair (the queue), <root>/spool/challengers (repaired bundles), <root>/bundles (frozen bundles).
Any number of watchers may serve one state directory. With --once it ends when nothing is waiting any more; jobs that
are deferred stay where they are.

Exit: 0 after SIGTERM, SIGINT or --once · 64 usage · 78 the configuration is wrong · 70 a bug.
"""

import time
from collections.abc import Sequence

from repairlab.commandline import Parser, positive

PROGRAM = "repairlab-queue-watcher"


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser(
        PROGRAM,
        "Claim the jobs that are dropped into the repair queue and carry each to its end.",
        epilog="Signals: TERM and INT finish what is running within watcher.grace_s or hand it back; HUP reloads.",
    )
    made.add_argument("--once", action="store_true", help="end when nothing is waiting any more")
    made.add_argument("--concurrency", type=positive, metavar="N", help="agents at a time (default: one a core)")
    return made


def main(argv: Sequence[str]) -> int:
    """Serve the queue."""
    options = parser().read(argv)
    from repairlab import config, journal

    journal.configure(PROGRAM, quiet=("watchdog.observers.inotify",))
    settings = config.load()
    from repairlab.watch.workers import Workers

    workers = Workers(warm_agent=not settings.watcher.agent, file_mb=settings.sandbox.file_mb)
    workers.open(time.monotonic())  # it imports what the agents need while we import what we need
    from repairlab.watch.watcher import Watcher

    return Watcher(config.root(), settings, workers, once=options.once, concurrency=options.concurrency).run()
