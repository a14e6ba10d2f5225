"""syntax: proposals for a file that does not parse: one token missing, superfluous or mistaken, or a line's indent.

    mends(text)    texts that parse, the likeliest first

The parser says where it gave up and, since Python 3.10, often why; both are hints. What it names is tried first, then
every insertion, deletion and exchange of a token near by. A file with several such errors is mended one after the
other, as long as each mend moves the place where the parser gives up further down. Nothing is run: tests decide between
the proposals, since a bracket can be closed in many places and only one is meant.

Source of the kinds: the syntax errors of novices that Python's own messages are written for (PEP 617, "What's New In
Python 3.10: Better error messages"), Python 2's statements, and the marker lines of merges.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from repairlab.repair import syntax_lines
from repairlab.trial.source import UNPARSABLE

MAX_DEPTH = 3  # errors in one file that are mended one after the other
MAX_BASES = 4  # half-mended texts of each depth that are built upon
MAX_FOUND = 40
MAX_PARSED = 3_000_000  # characters given to the parser in all; a clock would not repeat
LARGE = 6000  # characters from which on the surroundings of a fault are mended alone
MAX_CHECKED = 12  # mends of a part that are parsed in the whole file


@dataclass(frozen=True, slots=True)
class Mend:
    """A text that parses, how it came about, the line of the first change, and how likely it is meant."""

    text: str
    note: str
    line: int
    prior: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the parser gave up: 1-based line, character offset in it, its message."""

    line: int
    column: int
    message: str


class _Parser:
    """Parses within an account of characters, and keeps the one of what is replaced."""

    def __init__(self) -> None:
        self.left = MAX_PARSED
        self.lines = syntax_lines.Account()

    def fault(self, text: str) -> Fault | None:
        """Return where the parser gives up; None for text that parses."""
        self.left -= len(text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(text)
        except SyntaxError as error:
            line = min(error.lineno or 1, text.count("\n") + 1)
            return Fault(line, max(0, (error.offset or 1) - 1), error.msg or "")
        except UNPARSABLE as error:
            return Fault(1, 0, str(error))
        return None


def _surroundings(text: str, line: int) -> tuple[int, int]:
    """Return the span of the top-level definition that a line stands in, up to the one after the next."""
    starts = [found.start() for found in re.finditer(r"^(?:def\b|class\b|async\b|@)", text, re.MULTILINE)]
    at = sum(len(each) + 1 for each in text.split("\n")[: line - 1])
    before = [start for start in starts if start <= at]
    after = [start for start in starts if start > at]
    return (before[-2] if len(before) > 1 else 0), (after[1] if len(after) > 1 else len(text))


def mends(text: str) -> list[Mend]:
    """Return texts near `text` that parse, the likeliest first; none where it parses, or nothing near does."""
    newline = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    parser = _Parser()
    fault = parser.fault(plain)
    if fault is None:
        return []
    found = _of_part(parser, plain, fault) if len(plain) > LARGE else []
    found = found or _of_whole(parser, plain, fault)
    return [Mend(mend.text.replace("\n", newline), mend.note, mend.line, mend.prior) for mend in found]


def _of_part(parser: _Parser, text: str, fault: Fault) -> list[Mend]:
    """Mend the surroundings of a fault alone; only what comes of the best is parsed as a whole."""
    first, last = _surroundings(text, fault.line)
    before = text.count("\n", 0, first)
    inner = parser.fault(text[first:last])
    if inner is None or last - first == len(text):
        return []
    part = _of_whole(parser, text[first:last], inner)[:MAX_CHECKED]
    whole = [Mend(text[:first] + m.text + text[last:], m.note, m.line + before, m.prior) for m in part]
    return [mend for mend in whole if parser.fault(mend.text) is None]


def _of_whole(parser: _Parser, text: str, fault: Fault) -> list[Mend]:
    found: dict[str, Mend] = {}
    bases = [Mend(text, "", fault.line, 1.0)]
    for _ in range(MAX_DEPTH):
        half: dict[str, Mend] = {}
        for base in bases:
            for mend, left in _near(parser, base):
                kept = half if left else found
                if mend.text not in kept or kept[mend.text].prior < mend.prior:
                    kept[mend.text] = mend
        if found or parser.left <= 0:
            break
        bases = sorted(half.values(), key=lambda mend: (-mend.prior, mend.text))[:MAX_BASES]
    return sorted(found.values(), key=lambda mend: (-mend.prior, mend.text))[:MAX_FOUND]


def _near(parser: _Parser, base: Mend) -> Iterator[tuple[Mend, bool]]:
    """Yield the proposals for one text, and whether a fault is left further down in each."""
    fault = parser.fault(base.text)
    if fault is None:
        return
    seen = {base.text}
    place = fault.line, fault.column, fault.message
    for prior, proposed, note in syntax_lines.proposals(base.text, *place, parser.lines):
        if parser.left <= 0:
            return
        if proposed in seen:
            continue
        seen.add(proposed)
        left = parser.fault(proposed)
        if left is None or left.line > fault.line:
            notes = f"{base.note} + {note}" if base.note else note
            yield Mend(proposed, notes, base.line if base.note else fault.line, base.prior * prior), left is not None
