"""letter: a promoted patch as a person gets it: a mail that `git am` takes, and a page that says why.

    <root>/patches/LINEAGE/ID.patch   for `git am` and `git apply`; made of the champion alone, so always the same bytes
    <root>/patches/LINEAGE/ID.md      what failed, why this mends it, what was tried, what it risks, what to type

Both are made durable before the evaluation ends. What strangers wrote (test names, details) stands in the page as code
and nowhere as Markdown, and what is not printable stands in both as an escape. The patch itself is there byte for byte;
where it adds characters that do not show, the page says so.
"""

import re
import shlex
from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path

from repairlab.documents import Challenger, Champion, Findings, Question, patch_bytes
from repairlab.evaluate.contest import Outcome
from repairlab.spool.disk import Disk, trouble

SHOWN = 20
WIDTH = 72
SHOWN_CHARS = 300
SCISSORS = re.compile("[8%][<>]|[<>][8%]")  # git-mailinfo(1) cuts off what is above a line with scissors


def write(directory: Path, champion: Champion, challenger: Challenger, outcome: Outcome) -> Path | None:
    """Write both files durably, and return the patch's path; None for a champion that passed as it came."""
    if not champion.patch:
        return None
    place = directory / champion.lineage
    with trouble("write the patch"):
        place.mkdir(parents=True, exist_ok=True)
        disk, path = Disk(), place / f"{champion.id}.patch"
        told, by = page(path, champion, challenger, outcome), champion.id
        disk.replace("letter.page", str(path.with_suffix(".md")), told, sync=True, by=by)
        disk.replace("letter.patch", str(path), mail(champion, challenger), sync=True, by=by)
        disk.sync_directory("letter.directory", str(place))
    return path


def mail(champion: Champion, challenger: Challenger) -> bytes:
    """Return the patch as one mail of git's format."""
    patch = patch_bytes(champion.patch, champion.patch_encoding)
    subject = f"[PATCH] {champion.lineage}: {_words(challenger.repair_details)}"[: WIDTH + len("[PATCH] ")]
    failing = [f"- {_words(name)}" for name in challenger.failing[:SHOWN]]
    body = ["These tests failed and pass now:" if failing else "All tests pass.", "", *failing, ""]
    body += [
        f"Found by {champion.strategy}; verified in a fresh sandbox, then evaluated as {champion.id}.",
        f"Bundle before {champion.parent_sha256}, after {champion.bundle_sha256}.",
        f"To apply: git am {_options(patch)}FILE",
    ]
    head = [
        f"From {champion.bundle_sha256[:40]} Mon Sep 17 00:00:00 2001",
        "From: RepairLab <repairlab@localhost>",
        f"Date: {format_datetime(champion.at)}",
        f"Subject: {subject}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\n".join([*head, "", *body, "---", ""]).encode() + patch + b"-- \nRepairLab\n"


def page(path: Path, champion: Champion, challenger: Challenger, outcome: Outcome) -> bytes:
    """Return what a person reads before applying it."""
    return "\n".join(_page(path, champion, challenger, outcome)).encode("utf-8") + b"\n"


def _page(path: Path, champion: Champion, challenger: Challenger, outcome: Outcome) -> Iterator[str]:
    where = shlex.quote(str(path))
    patch = patch_bytes(champion.patch, champion.patch_encoding)
    yield from (f"# {_code(champion.lineage)}: {_code(challenger.repair_details)}", "", "## What failed", "")
    yield from ([f"- {_code(name)}" for name in challenger.failing[:SHOWN]] or ["Nothing that is known by name."])
    if len(challenger.failing) > SHOWN:
        yield f"- and {len(challenger.failing) - SHOWN} more"
    yield from ("", "## Why this mends it", "")
    yield f"{_code(challenger.repair_details)} (strategy `{champion.strategy}`)."
    yield from ("", "## Evidence", "")
    yield from _searched(challenger.findings)
    yield f"- With the patch: {outcome.tests} of {outcome.tests} tests pass, in each of {outcome.runs} runs."
    yield "- Each run: a fresh sandbox, another order; skipped tests are not counted."
    yield from _likelihood(challenger)
    before = "" if outcome.rival is None else f"; the champion before: {outcome.rival:.3f}"
    yield f"- fitness: {outcome.fitness:.3f}{before}"
    for name in ("correctness", "safety", "performance", "robustness", "documentation", "stability"):
        yield f"- {name}: {getattr(outcome.components, name):.3f}"
    if outcome.benchmark and outcome.benchmark_ms is not None:
        yield f"- Benchmark: {_code(outcome.benchmark)}, {outcome.benchmark_ms:.0f} ms."
    if outcome.rival:
        yield "- Time beside the champion before: {:.2f} ({:.2f} to {:.2f}); memory {:.2f} ({:.2f} to {:.2f}).".format(
            *outcome.time_ratio, *outcome.memory_ratio
        )
    for name in outcome.retired[:SHOWN]:
        yield f"- No longer asked, as its handoff says: {_code(name)}."
    for told in outcome.missed(challenger.targets) or ():
        yield f"- Misses a target: {_code(told)}."
    yield from ("", "## Risk", "", _risk(outcome) + _hidden(patch), "")
    yield from ("## What to type", "", "In the project's repository, to apply it:", "")
    yield f"    git am {_options(patch)}{where}"
    yield from ("", "To refuse it, so that the champion before it stands again:", "")
    yield f"    repairlab demote {shlex.quote(champion.lineage)} {champion.id}"


def _searched(found: Findings | None) -> Iterator[str]:
    """Tell of the tests before the patch, as the search counted them."""
    if found is None:
        yield "- With the parent: not told."
    elif found.failed is None:
        yield "- With the parent: not counted, for code that does not load runs no test."
    else:
        good = max(0, found.tests - found.failed)
        yield f"- With the parent: {good} of {found.tests} tests pass or are skipped, {found.failed} fail."


def _likelihood(challenger: Challenger) -> Iterator[str]:
    """Tell what else passed the tests, and how sure the search is of this patch."""
    found, sure = challenger.findings, challenger.confidence
    if found is not None and found.clusters:
        number = "1 cluster" if found.clusters == 1 else f"{found.clusters} clusters"
        yield f"- Patches that pass the tests: {number} (what behaves alike is one); {_lead(found, sure)}."
        if found.question is not None:
            yield from _asked(found.question)
    if sure is not None:
        yield f"- Confidence: {sure:.0%} of such patches were right."


def _lead(found: Findings, sure: float | None) -> str:
    if found.clusters == 1:
        return "no other was found"
    if sure is None or found.next_confidence is None:
        return "which is likelier is not known"
    if sure > found.next_confidence:
        return f"this one leads alone ({sure:.0%}), the next has {found.next_confidence:.0%}"
    return f"this one does not lead alone: it has {sure:.0%}, another {found.next_confidence:.0%}"


def _asked(question: Question) -> Iterator[str]:
    yield f"- The two likeliest differ on {_code(question.call)}. Which answer is right?"
    yield f"    - this patch: {_code(question.likeliest)}"
    yield f"    - the next: {_code(question.other)}"


def _risk(outcome: Outcome) -> str:
    told = "Tests show that what they ask is answered, not that nothing else changed: read the patch."
    if outcome.findings:
        told += " New in this patch: " + ", ".join(sorted(outcome.findings)) + "."
    return told


def _options(patch: bytes) -> str:
    """Return what git am needs for this patch: it drops the CR at the ends of lines unless it is told."""
    return "--keep-cr " if b"\r" in patch else ""


def _hidden(patch: bytes) -> str:
    """Tell of characters in added lines that a person who reads the patch does not see, or sees elsewhere."""
    added = b"".join(line for line in patch.split(b"\n") if line.startswith(b"+"))
    found = {char for char in added.decode("utf-8", "replace") if not char.isprintable()} - set("\t\r\f")
    names = ", ".join(f"U+{ord(char):04X}" for char in sorted(found)[:SHOWN])
    return f" It adds characters that do not show: {names}." if names else ""


def _line(text: str) -> str:
    """Return text on one line, without anything that a terminal, a mail reader or the eye would obey."""
    shown = "".join(char if char.isprintable() else _escaped(char) for char in text[:SHOWN_CHARS].strip())
    return shown + ("…" if len(text) > SHOWN_CHARS else "") or "(no words)"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _words(text: str) -> str:
    """Return text for a mail: neither an encoded word (RFC 2047), which is decoded again, nor scissors."""
    return SCISSORS.sub("><", _line(text)).replace("=?", "= ?")


def _code(text: str) -> str:
    """Return text as a code span of Markdown, in which nothing is markup: fenced by more backticks than it has."""
    shown = _line(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"
