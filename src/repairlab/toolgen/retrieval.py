"""retrieval: functions that won before, called as a spec wants them.

The library's functions are ranked by the words that they share with the spec, among those that can be called with as
many arguments. A candidate is the function with all it needs, and one call to it; the arguments go by name where names
agree, else in order. Whether it is right, the tests say.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from repairlab.documents import FunctionPattern, ParameterKind, Pattern, decode
from repairlab.errors import BadInput
from repairlab.spool import read_file
from repairlab.toolgen.synthesis import Body
from repairlab.toolgen.wishes import Wish

MAX_FILES, MAX_FILE = 10_000, 256 << 10
TRIED = 5
VARIADIC = (ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD)
_WORD = re.compile(r"[a-z]+|\d+")


def retrieved(wish: Wish, directory: Path) -> list[tuple[str, Body]]:
    """Return (the pattern's name, body) of the likeliest, best first."""
    wanted = _words(f"{wish.name} {wish.spec.task}")
    scored = []
    for pattern in _patterns(directory):
        assert pattern.function is not None  # `_patterns` yields no others
        call = _call(pattern.function, list(wish.parameters))
        shared = wanted & _words(f"{pattern.function.name} {_docstring(pattern.function)}")
        if call is not None and shared:
            scored.append((-len(shared) / len(wanted), -pattern.quality.wins, pattern.id, pattern, call))
    return [
        (pattern.told, _body(pattern.function, call))
        for *_, pattern, call in sorted(scored)[:TRIED]
        if pattern.function
    ]


def _patterns(directory: Path) -> Iterator[Pattern]:
    """Yield the functions of the library; what is damaged is left out (the agent names it)."""
    for path in sorted(directory.glob("*.json"))[:MAX_FILES]:
        try:
            pattern = decode(read_file(path, MAX_FILE), Pattern, max_bytes=MAX_FILE)
        except (BadInput, OSError):
            continue
        if pattern.function is not None and not pattern.function.name.startswith("__"):
            yield pattern


def _call(function: FunctionPattern, names: list[str]) -> str | None:
    """Return the call that passes `names`, or None where it cannot."""
    known = [p for p in function.parameters if p.kind not in VARIADIC]
    if known and known[0].name in ("self", "cls"):
        return None
    needed = [p for p in known if p.default is None]
    if {p.name for p in needed} <= set(names) <= {p.name for p in known}:
        return f"{function.name}({', '.join(f'{name}={name}' for name in names)})"
    positional = [p for p in known if p.kind is not ParameterKind.KEYWORD_ONLY]
    if len(needed) <= len(names) <= len(positional) and all(p in positional for p in needed):
        return f"{function.name}({', '.join(names)})"
    return None


def _body(function: FunctionPattern, call: str) -> Body:
    return Body((f"return {call}",), tuple(function.imports), 0.0, "retrieved", (*function.helpers, function.source))


def _docstring(function: FunctionPattern) -> str:
    found = re.search(r'"""(.*?)"""', function.source, re.DOTALL)
    return found[1] if found else ""


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower().replace("_", " ")) if len(word) > 2}
