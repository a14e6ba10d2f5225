"""diff: unified diffs that `git apply` and `patch -p1` apply to the byte.

Lines end at \\n alone, so that \\r stays part of its line. A last line without its end is marked as diff(1) marks it
(the standard library's writer corrupts the patch there). Names that need it are quoted as git quotes them.
"""

import difflib
from collections.abc import Iterator, Mapping

CONTEXT = 3
MAX_ALIGNED = 2000  # changed lines beyond this many are shown as one block: aligning them is quadratic
_NO_END = b"\n\\ No newline at end of file\n"
_ESCAPES = {0x07: "a", 0x08: "b", 0x09: "t", 0x0A: "n", 0x0B: "v", 0x0C: "f", 0x0D: "r", 0x22: '"', 0x5C: "\\"}

Opcode = tuple[str, int, int, int, int]


def unified(changes: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """Return the patch that turns each path's first bytes into its second; unchanged files do not appear."""
    return b"".join(_file(path, old, new) for path, (old, new) in sorted(changes.items()) if old != new)


def _file(path: str, old: bytes, new: bytes) -> bytes:
    before, after = _lines(old), _lines(new)
    head = f"--- {_quoted('a/' + path)}\n+++ {_quoted('b/' + path)}\n".encode("utf-8", "surrogateescape")
    return head + b"".join(_hunk(group, before, after) for group in _groups(_opcodes(before, after)))


def _lines(raw: bytes) -> list[bytes]:
    *ended, rest = raw.split(b"\n")
    return [line + b"\n" for line in ended] + ([rest] if rest else [])


def _quoted(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    if not any(byte < 0x20 or byte in (0x22, 0x5C, 0x7F) for byte in raw):
        return name + ("\t" if " " in name else "")  # without the tab, readers end the name at the blank
    body = "".join(
        f"\\{_ESCAPES[byte]}" if byte in _ESCAPES else chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
        for byte in raw
    )
    return f'"{body}"'


def _opcodes(before: list[bytes], after: list[bytes]) -> list[Opcode]:
    """Return difflib-like opcodes; only what lies between the common head and tail is aligned."""
    head, limit = 0, min(len(before), len(after))
    while head < limit and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < limit - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    middle, changed = before[head : len(before) - tail], after[head : len(after) - tail]
    codes: list[Opcode] = [("equal", 0, head, 0, head)] if head else []
    if len(middle) + len(changed) > MAX_ALIGNED:
        codes.append(("replace", head, head + len(middle), head, head + len(changed)))
    else:
        matcher = difflib.SequenceMatcher(None, middle, changed, autojunk=False)
        codes += [(tag, a + head, b + head, c + head, d + head) for tag, a, b, c, d in matcher.get_opcodes()]
    if tail:
        codes.append(("equal", len(before) - tail, len(before), len(after) - tail, len(after)))
    return codes


def _groups(codes: list[Opcode]) -> Iterator[list[Opcode]]:
    """Split the opcodes into hunks, `CONTEXT` lines of context each."""
    group: list[Opcode] = []
    for position, (tag, a, b, c, d) in enumerate(codes):
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        last = position == len(codes) - 1
        if group and (last or b - a > 2 * CONTEXT):
            yield [*group, (tag, a, min(b, a + CONTEXT), c, min(d, c + CONTEXT))]
            group = []
        if not last:
            start = max(a, b - CONTEXT) if not group else a
            group = [*group, (tag, start, b, d - (b - start), d)]
    if group and any(code[0] != "equal" for code in group):
        yield group


def _hunk(group: list[Opcode], before: list[bytes], after: list[bytes]) -> bytes:
    first, last = group[0], group[-1]
    out = [f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n".encode()]
    for tag, a, b, c, d in group:
        if tag == "equal":
            out += [_marked(b" ", line) for line in before[a:b]]
            continue
        out += [_marked(b"-", line) for line in before[a:b]]
        out += [_marked(b"+", line) for line in after[c:d]]
    return b"".join(out)


def _marked(sign: bytes, line: bytes) -> bytes:
    return sign + line if line.endswith(b"\n") else sign + line + _NO_END


def _range(start: int, end: int) -> str:
    count = end - start
    if count == 1:
        return f"{start + 1}"
    return f"{start + 1 if count else start},{count}"
