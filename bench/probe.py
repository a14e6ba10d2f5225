"""bench/probe: was the reference's own edit within reach, and does the engine's validation let it through?

    reachable   which of the candidates turns the buggy file into the reference (its place in the order, from 1)
    let through the reference's edit, given to the engine as its only candidate, is the patch that the attempt ends
                with; once more among others, in a batch, it is found plausible, refused for nothing that it says, and
                passes a plain run; a true fix that is killed is a false reject, and a bug

Both run the engine itself, with what it generates replaced by what the probe wants to be tried: one probe at a time,
whatever other threads do.
"""

import ast
import difflib
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from repairlab import config
from repairlab.documents import Handoff, Limits
from repairlab.repair import search
from repairlab.repair.attempt import Attempt
from repairlab.repair.candidates import Change
from repairlab.repair.confirmation import Confirmation
from repairlab.trial.overfitting import Guard
from repairlab.trial.source import Edit, Source, overlapping

AMONG = 52  # candidates that come before the reference's edit, so that it goes in a batch
MARGIN = 3  # lines around the difference in which an edit may stand that has its effect
LATE = "deadline: "  # how a reason begins that says nothing of the edit: the attempt had too little time
ONE = threading.Lock()  # held while the engine's own functions are replaced: they are the whole process's


@dataclass(frozen=True)
class Finding:
    """What the probe found; `place` is None where no candidate is the reference's edit, `late` what had no time."""

    place: int | None
    parts: tuple[int | None, ...]
    rejected: str
    late: str


def hunks(path: str, old: str, new: str) -> list[Edit]:
    """Return the difference of two texts as edits of whole lines."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [
        Edit(path, starts[a], starts[b], "".join(after[c:d]))
        for tag, a, b, c, d in matcher.get_opcodes()
        if tag != "equal"
    ]


def probe(bundle: Path, references: Mapping[str, str], wall_s: float) -> Finding:
    """Try the edit that makes `references` (path → text) of the bundle's files; each of two attempts has half of it."""
    made: list[Change] = []

    def alone(found: list[Change]) -> list[Change]:
        made[:] = made or found
        return [reference]

    def among(found: list[Change]) -> list[Change]:
        others = [change for change in found if change.key != reference.key]
        return [*others[:AMONG], reference, *others[AMONG : AMONG + 8]]

    sources = {path: Source.decode(path, (bundle / path).read_bytes()) for path in references}
    edits = [edit for path, text in references.items() for edit in hunks(path, sources[path].text, text)]
    first = edits[0]
    line = sources[first.path].text.count("\n", 0, first.start) + 1
    reference = Change(tuple(edits), (first.path, line), "reference", "the reference's edit", 1e-9)
    why = killed(bundle, alone, reference, wall_s / 2, leads=True) or killed(bundle, among, reference, wall_s / 2)
    whole = place_of(made, sources, edits)
    parts = tuple(place_of(made, sources, [edit]) for edit in edits) if whole is None and len(edits) > 1 else ()
    late = why if why.startswith(LATE) else ""
    return Finding(whole, parts, "" if late else why, late)


def killed(
    bundle: Path, choose: Callable[[list[Change]], list[Change]], wanted: Change, wall_s: float, *, leads: bool = False
) -> str:
    """Run an attempt that tries what `choose` says; return '' where the wanted change passes, else why not.

    With `leads` it must be what the attempt chooses in the end; else others may come before it.
    """
    with generating(choose):
        handoff = Handoff(bundle_dir=str(bundle.resolve()), limits=Limits(wall_s=wall_s))
        with closing(Attempt(handoff, config.load(), effort=1)) as attempt:
            attempt.run()
    if leads:
        chosen = attempt.ok and attempt.chosen is not None and attempt.chosen.edits == wanted.key
        return "" if chosen else told(attempt)
    found = attempt.search.plausible if attempt.search is not None else []
    if not any(patch.edits == wanted.key for patch in found):
        return told(attempt)
    if why := Guard(attempt.bundle).objection(wanted.edits):
        return f"refused: {why}"
    confirmation = Confirmation(attempt.setup, attempt.tests, lambda: wall_s)
    verification = confirmation.plain(attempt.bundle.patched(wanted.edits))
    attempt.setup.close()
    return "" if verification.ok else f"{LATE if verification.late else 'plain run: '}{verification.why}"[:300]


def told(attempt: Attempt) -> str:
    if attempt.search is not None and not attempt.search.tried and attempt.reason != "deadline":
        return "never tried"
    return f"{attempt.reason or 'another patch leads'}: {attempt.details}"[:300]


@contextmanager
def generating(choose: Callable[[list[Change]], list[Change]]):
    """Let the engine try what `choose` makes of its first list of candidates, and nothing that a strategy proposes."""
    asked: list[None] = []

    def generate(*arguments: object, **options: object) -> list[Change]:
        asked.append(None)
        return choose(original(*arguments, **options)) if len(asked) == 1 else []

    with ONE:
        original, propose = search.generate, search.Search._propose
        search.generate = generate
        search.Search._propose = lambda _search, server, _proposer: server
        try:
            yield
        finally:
            search.generate, search.Search._propose = original, propose


def place_of(made: Sequence[Change], sources: Mapping[str, Source], edits: Sequence[Edit]) -> int | None:
    """Return the place of the first candidate that has the effect of `edits`, up to formatting; None without one."""
    if len({edit.path for edit in edits}) != 1:
        return None
    source = sources[edits[0].path]
    first, last = near(source, min(edit.start for edit in edits), max(edit.end for edit in edits))
    wanted = shape(source.edited(edits), first, last, edits)
    for place, change in enumerate(made, 1):
        inside = all(e.path == source.path and first <= e.start and e.end <= last for e in change.edits)
        if inside and not overlapping(change.edits):
            found = shape(source.edited(change.edits), first, last, change.edits)
            if found is not None and found == wanted:
                return place
    return None


def near(source: Source, start: int, end: int) -> tuple[int, int]:
    """Return the span of the top-level statements that the lines around a span belong to."""
    low = source.text.count("\n", 0, start) + 1 - MARGIN
    high = source.text.count("\n", 0, end) + 1 + MARGIN
    spans = [source.line_span(first_line(node), node.end_lineno or node.lineno) for node in source.tree.body]
    lines = [(first_line(node), node.end_lineno or node.lineno) for node in source.tree.body]
    touched = [span for span, (a, b) in zip(spans, lines, strict=True) if a <= high and b >= low]
    return (touched[0][0], touched[-1][1]) if touched else (start, end)


def first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def shape(text: str, first: int, last: int, edits: Sequence[Edit]) -> str | None:
    """Return the syntax of the edited span, or None where it does not parse."""
    grown = sum(len(edit.text) - (edit.end - edit.start) for edit in edits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # candidates may be doubtful Python
            return ast.dump(ast.parse(text[first : last + grown]))
    except (SyntaxError, ValueError, RecursionError):
        return None
