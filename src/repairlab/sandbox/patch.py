"""patch: what a unified diff makes of a bundle, worked out strictly and in memory.

The diff comes from an agent that spoke with untrusted code, so it is read as hostile: it may only change regular files
that exist, below the root, each once, every hunk exactly where it says (no offset, no fuzz: stricter than
`git apply --check`), and it may neither create, delete, rename nor change a mode. `BadPatch` says which rule broke.

The work is bytes, not text: encodings, CRLF and a missing last newline are kept as they are.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_FILES = 1000
_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_INDEX = re.compile(rb"index [0-9a-f]{1,64}\.\.[0-9a-f]{1,64}(?: 100644| 100755)?\r?")  # other modes are links
_FORBIDDEN = (b"new file", b"deleted file", b"old mode", b"new mode", b"rename ", b"copy ", b"GIT binary")
_ESCAPES = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}


class BadPatch(ValueError):
    """The diff breaks a rule, or does not apply."""


@dataclass
class Hunk:
    """Replace `old` by `new` from line `start` (counted from 0) of the original."""

    start: int
    new_start: int = 0
    old: list[bytes] = field(default_factory=list)
    new: list[bytes] = field(default_factory=list)
    sides: list[list[bytes]] = field(default_factory=list)  # where the last line went

    def end_without_newline(self) -> None:
        """Take the newline off the last line."""
        if not self.sides or any(not side[-1].endswith(b"\n") for side in self.sides):
            raise BadPatch("a missing newline is told of no line")
        for side in self.sides:
            side[-1] = side[-1][:-1]


@dataclass
class FilePatch:
    """The hunks of one file, in order."""

    path: str
    hunks: list[Hunk] = field(default_factory=list)


def parse(diff: bytes) -> list[FilePatch]:
    """Return the file patches in `diff`; raise `BadPatch`."""
    if not diff.strip():
        raise BadPatch("the patch is empty")
    lines = _Lines(diff)
    found: list[FilePatch] = []
    header = b""
    while (line := lines.next()) is not None:
        if line.startswith(_FORBIDDEN):
            raise BadPatch(f"{_shown(line)}: only the text of existing files may change")
        if line.startswith(b"--- "):
            found.append(_file(lines, line))
            header = b""
        elif _INDEX.fullmatch(line) or (line.startswith(b"diff ") and not header):
            header = line
        else:
            raise BadPatch(f"{_shown(line)}: not a line of a unified diff")
    _check_paths(found)
    if header:
        raise BadPatch(f"{_shown(header)}: no hunk follows")
    return found


class _Lines:
    """The lines of the diff without their newline, with one line of look-ahead."""

    def __init__(self, diff: bytes) -> None:
        self._lines = diff.split(b"\n")
        if self._lines[-1] == b"":
            self._lines.pop()
        self._at = 0

    def peek(self) -> bytes | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def next(self) -> bytes | None:
        line = self.peek()
        self._at += 1
        return line


def _file(lines: _Lines, old: bytes) -> FilePatch:
    new = lines.next() or b""
    if not new.startswith(b"+++ "):
        raise BadPatch(f"{_shown(new)}: expected the line that starts with +++")
    source, target = _name(old[4:], b"a/"), _name(new[4:], b"b/")
    if source != target:
        raise BadPatch(f"{source} is not {target}: a patch may not create, delete or rename")
    patch = FilePatch(source)
    while (line := lines.peek()) is not None and line.startswith(b"@@"):
        patch.hunks.append(_hunk(lines))
    if not patch.hunks:
        raise BadPatch(f"{source}: no hunk")
    return patch


def _name(raw: bytes, prefix: bytes) -> str:
    name = raw.rstrip(b"\r").split(b"\t")[0]
    if name.startswith(b'"') and name.endswith(b'"') and len(name) > 1:
        name = _unquoted(name[1:-1])
    if not name.startswith(prefix):
        raise BadPatch(f"{_shown(raw)}: expected a path that starts with {prefix.decode()}")
    return os.fsdecode(name[len(prefix) :])


def _unquoted(name: bytes) -> bytes:
    """Undo git's C-style quoting of unusual names."""

    def byte(match: re.Match[bytes]) -> bytes:
        text = match[1]
        return bytes([_ESCAPES[text] if text in _ESCAPES else int(text, 8) & 0xFF])

    return re.sub(rb'\\([0-7]{3}|[abtnvfr"\\])', byte, name)


def _hunk(lines: _Lines) -> Hunk:
    head = lines.next() or b""
    match = _HUNK.match(head)
    if match is None:
        raise BadPatch(f"{_shown(head)}: not a hunk header")
    old_left = 1 if match[2] is None else int(match[2])
    new_left = 1 if match[4] is None else int(match[4])
    # Without lines on its side the number names the line after which they would be, else the first, counted from 1.
    hunk = Hunk(int(match[1]) - (old_left > 0), int(match[3]) - (new_left > 0))
    if min(hunk.start, hunk.new_start) < 0:
        raise BadPatch(f"{_shown(head)}: there is no line 0")
    if not (old_left or new_left):
        raise BadPatch(f"{_shown(head)}: an empty hunk")
    while old_left or new_left or (lines.peek() or b"").startswith(b"\\"):
        old, new = _line(lines, hunk)
        old_left, new_left = old_left - old, new_left - new
        if old_left < 0 or new_left < 0:
            raise BadPatch(f"{_shown(head)}: more lines than the header says")
    return hunk


def _line(lines: _Lines, hunk: Hunk) -> tuple[int, int]:
    """Take one line into the hunk; return how many old and new lines it was."""
    line = lines.next()
    sign = (line or b"?")[:1]
    if line is None or sign not in (b" ", b"-", b"+", b"\\"):
        raise BadPatch(f"{_shown(line or b'')}: the hunk ends early")
    if sign == b"\\":  # "\ No newline at end of file" speaks of the line before it
        hunk.end_without_newline()
        return 0, 0
    hunk.sides = [side for side, signs in ((hunk.old, b" -"), (hunk.new, b" +")) if sign in signs]
    for side in hunk.sides:
        side.append(line[1:] + b"\n")
    return int(sign in b" -"), int(sign in b" +")


def _check_paths(patches: list[FilePatch]) -> None:
    if not patches:
        raise BadPatch("the patch changes no file")
    if len(patches) > MAX_FILES:
        raise BadPatch(f"the patch changes more than {MAX_FILES} files")
    seen = set()
    for patch in patches:
        pure = PurePosixPath(patch.path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != patch.path or "\0" in patch.path:
            raise BadPatch(f"{patch.path!r}: not a plain path below the bundle")
        if patch.path in seen:
            raise BadPatch(f"{patch.path}: changed twice")
        seen.add(patch.path)


def applied(diff: bytes, root: Path) -> dict[str, bytes]:
    """Return path → new content of every file that `diff` changes below `root`; raise `BadPatch`. Writes nothing."""
    return {patch.path: _apply(patch, _read(root, patch.path)) for patch in parse(diff)}


def _read(root: Path, name: str) -> bytes:
    path = root / name
    try:
        if path.resolve(strict=True) != root.resolve() / name or not stat.S_ISREG(path.lstat().st_mode):
            raise BadPatch(f"{name}: not a regular file of the bundle")
        return path.read_bytes()
    except OSError as error:
        raise BadPatch(f"{name}: {os.strerror(error.errno or 0)}") from None


def _apply(patch: FilePatch, content: bytes) -> bytes:
    lines = _split(content)
    out: list[bytes] = []
    done = 0
    for hunk in patch.hunks:
        end = hunk.start + len(hunk.old)
        where = f"{patch.path}: the hunk at line {hunk.start + 1}"
        if hunk.start < done or end > len(lines) or lines[hunk.start : end] != hunk.old:
            raise BadPatch(f"{where} does not apply")
        out += lines[done : hunk.start]
        if hunk.new_start != len(out):  # where git looks first, and patch(1) does not
            raise BadPatch(f"{where} is not at line {hunk.new_start + 1} of the result")
        if len(hunk.sides) < 2 and end != len(lines):  # git: what has no context after it is at the end
            raise BadPatch(f"{where} has no context after its last change")
        out += hunk.new
        done = end
    out += lines[done:]
    if any(not line.endswith(b"\n") for line in out[:-1]):  # git joins such lines, patch(1) does not
        raise BadPatch(f"{patch.path}: a line without newline is not the last")
    return b"".join(out)


def _split(content: bytes) -> list[bytes]:
    """Split after each line feed and nowhere else."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _shown(line: bytes) -> str:
    return ascii(line[:80].decode("utf-8", "replace"))
