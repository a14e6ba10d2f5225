"""repairlab-toolgen: make a tool of each spec: what passes its tests is a challenger, what does not is to be repaired.

    repairlab-toolgen [--once] [--root DIR]

Files: <root>/spool/specs (the queue, spec*.json), <root>/patterns, <root>/bundles (the tools), <root>/spool/challengers
and <root>/spool/repair; where llm.enabled says so, <root>/llm/requests and <root>/llm/responses. A tool is looked for
among the functions that won before, then put together from expressions, then asked for; its tests, made of the spec's
examples and properties, run in the sandbox and decide.

Exit: 0 after SIGTERM, SIGINT or --once · 64 usage · 69 no sandbox · 78 the configuration is wrong · 70 a bug.
"""

from collections.abc import Sequence

from repairlab.commandline import Parser

PROGRAM = "repairlab-toolgen"


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser(PROGRAM, "Make a tool of each spec, and tests that decide what becomes of it.")
    made.add_argument("--once", action="store_true", help="end when nothing is ready any more")
    return made


def main(argv: Sequence[str]) -> int:
    """Serve the queue."""
    options = parser().read(argv)
    from repairlab import serving
    from repairlab.toolgen.maker import Maker, queue

    return serving.run(
        PROGRAM, queue, lambda root, settings, service: Maker(root, settings, service).carry, once=options.once
    )
