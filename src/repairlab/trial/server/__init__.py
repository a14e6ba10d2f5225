"""server: the program that runs inside the sandbox, assembled from its parts into two source texts.

`program` unpacks the bundle and runs plain pytest on it, which is all that a verification needs. `search` is what it
becomes where candidates are to be judged, once it has imported pytest: what both need pytest has imported by then.

The parts are real files so that they can be read, linted and compiled, but never imported: they share one name space
under the *bundle's* interpreter (Python 3.8 or newer; standard library, and the pytest of that interpreter), after
`sandbox/inside.py`, whose stream and file functions they use.
"""

from functools import cache
from pathlib import Path

IMPORTS = "import subprocess, tempfile, threading, xml.etree.ElementTree\n"

FIRST = ("plain", "pristine")
SEARCH = (
    "worker", "direct", "tree", "swap", "coverage", "places", "state", "lanes", "batch", "loading",
    "derived", "behaviour", "stories", "hot",
)  # fmt: skip
PARTS = (*FIRST, *SEARCH)


@cache
def program(*, plain: bool = False) -> str:
    """Return what a sandbox begins with; `plain`: it imports at once what a plain run needs, ahead of it."""
    return (IMPORTS if plain else "") + _text(FIRST) + "\nserve()\n"


@cache
def search() -> str:
    """Return what follows the request `start`."""
    return _text(SEARCH)


def _text(parts: tuple[str, ...]) -> str:
    here = Path(__file__).parent
    return "\n".join((here / f"{part}.py").read_text(encoding="utf-8") for part in parts)
