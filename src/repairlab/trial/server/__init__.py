"""server: the program that runs inside the sandbox, assembled from its parts into one source text.

The parts are real files so that they can be read, linted and compiled, but never imported: they share one name space
under the *bundle's* interpreter (Python 3.8 or newer; standard library, and the pytest of that interpreter), after
`sandbox/inside.py`, whose stream and file functions they use.
"""

from functools import cache
from pathlib import Path

PARTS = (
    "worker", "tree", "swap", "coverage", "state", "lanes", "batch", "loading", "derived", "behaviour", "hot",
    "plain", "pristine",
)  # fmt: skip


@cache
def program() -> str:
    """Return the whole program."""
    here = Path(__file__).parent
    return "\n".join((here / f"{part}.py").read_text(encoding="utf-8") for part in PARTS) + "\nserve()\n"
