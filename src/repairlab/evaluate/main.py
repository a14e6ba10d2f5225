"""repairlab-evaluator: let each challenger fight the champion of its lineage, and promote what is better.

    repairlab-evaluator [--once] [--root DIR]

Files: <root>/spool/challengers (the queue), <root>/champions, <root>/metrics/metrics.jsonl, <root>/patches. Any number
of evaluators may serve one state directory: a champion is promoted only over the one that it has beaten. With --once it
ends when nothing is ready any more.

Exit: 0 after SIGTERM, SIGINT or --once · 64 usage · 69 no sandbox · 78 the configuration is wrong · 70 a bug.
"""

from collections.abc import Sequence

from repairlab.commandline import Parser

PROGRAM = "repairlab-evaluator"


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser(
        PROGRAM,
        "Evaluate challengers and promote those that beat the champion of their lineage.",
        epilog="Signals: TERM and INT hand back what is being evaluated and end the program.",
    )
    made.add_argument("--once", action="store_true", help="end when nothing is ready any more")
    return made


def main(argv: Sequence[str]) -> int:
    """Serve the queue."""
    options = parser().read(argv)
    from repairlab import serving
    from repairlab.evaluate.consumer import Consumer, queue

    return serving.run(
        PROGRAM, queue, lambda root, settings, service: Consumer(root, settings, service).carry, once=options.once
    )
