"""answers: a unified diff that a model wrote, as edits; refused as a whole where any of it is not to be trusted.

It may change the text of files that the agent may edit, and nothing else: no tests, no other paths, no new, deleted or
renamed files. Models count lines badly, so a hunk is looked for where it says, then wherever its old lines stand, which
must be in one place. Line ends are the file's own.
"""

from collections.abc import Mapping

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from repairlab.trial.source import Edit, Source, overlapping

MAX_LINES = 10_000
MAX_HUNKS = 100
MAX_FILES = 20


class BadAnswer(ValueError):
    """The diff breaks a rule, or does not apply; the text says which and where."""


def edits_of_diff(diff: str, sources: Mapping[str, Source]) -> list[Edit]:
    """Return the edits of a diff; raise `BadAnswer`."""
    if diff.count("\n") > MAX_LINES:
        raise BadAnswer(f"has more than {MAX_LINES} lines")
    try:
        files = PatchSet(diff.replace("\r\n", "\n").split("\n"))  # split: no other character ends a line
    except (UnidiffParseError, ValueError, IndexError, AssertionError) as error:
        raise BadAnswer(f"is no unified diff: {str(error).strip()[:200]}") from None
    if not 0 < len(files) <= MAX_FILES or sum(map(len, files)) > MAX_HUNKS:
        raise BadAnswer(f"does not change 1 to {MAX_FILES} files in at most {MAX_HUNKS} places")
    edits = [edit for file in files for edit in _of_file(file, sources)]
    if not edits or overlapping(edits):
        raise BadAnswer("changes nothing" if not edits else "changes one place twice")
    return edits


def _of_file(file: PatchedFile, sources: Mapping[str, Source]) -> list[Edit]:
    names = {_name(file.source_file, "a/"), _name(file.target_file, "b/")}
    path = names.pop()
    if names or file.is_added_file or file.is_removed_file or file.is_rename or file.is_binary_file:
        raise BadAnswer(f"{path[:200]!r}: only the text of existing files may change")
    source = sources.get(path)
    if source is None:
        raise BadAnswer(f"{path[:200]!r} is no file that may be edited")
    lines = [source.line_text(number) for number in range(1, len(source.starts) + 1)]
    edits, after = [], 0
    for hunk in file:
        old = [str(line.value) for line in hunk if line.line_type in (" ", "-")]
        new = [(str(line.value), line.line_type) for line in hunk if line.line_type in (" ", "+")]
        at = _place(lines, old, hunk.source_start - 1 if old else hunk.source_start, after)
        edits += _trimmed(source, at, old, [text for text, _ in new])
        after = at + len(old)
    return edits


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)


def _place(lines: list[str], old: list[str], told: int, after: int) -> int:
    """Return the index of the first line that a hunk replaces."""
    if not old:
        if 0 <= told <= len(lines):
            return told
        raise BadAnswer("adds lines behind the end of a file")
    if told >= after and lines[told : told + len(old)] == old:
        return told
    found = [
        at for at in range(after, len(lines) - len(old) + 1) if lines[at] == old[0] and lines[at : at + len(old)] == old
    ]
    if len(found) != 1:
        raise BadAnswer("a hunk's old lines stand " + ("nowhere" if not found else f"in {len(found)} places"))
    return found[0]


def _trimmed(source: Source, at: int, old: list[str], new: list[str]) -> list[Edit]:
    """Return the edit that replaces lines, without those that stay at its head and tail."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    if not gone and not come:
        return []
    first, last = at + head, at + head + len(gone)
    start = source.starts[first] if first < len(source.starts) else len(source.text)
    end = source.starts[last] if last < len(source.starts) else len(source.text)
    newline = source.newline(max(1, first))
    text = "".join(line + newline for line in come)
    if end == len(source.text) and not source.text.endswith(("\n", "\r")):
        text = (newline if start == end else "") + text.removesuffix(newline)
    return [Edit(source.path, start, end, text)]
