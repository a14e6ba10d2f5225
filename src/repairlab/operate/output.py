"""output: how every command speaks: tables, colours, times, one JSON envelope, and nothing that drives a terminal.

Names, reasons, patches and telemetry come from strangers: whatever in them a terminal would obey (control characters,
their 8-bit forms, bidirectional overrides) is shown as an escape. stdout carries data only; talk goes to stderr.

On a terminal tables are aligned, cut to its width and have a header; elsewhere they are tab-separated, complete and
bare, so that `cut`, `awk` and `repairlab retry -` can read them. NO_COLOR and TERM=dumb are honoured.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from repairlab.errors import RepairLabError

# C0 without \n and \t, DEL and C1, the marks and overrides that reorder text, line separators, lone surrogates.
_HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "bold": 1, "dim": 2}


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8 (surrogateescape)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean(text: str) -> str:
    """Return `text`, of one line or many, harmless to a terminal."""
    return _HOSTILE.sub(_escape, text)


def line(text: str) -> str:
    """Return `text` harmless to a terminal and on one line of one table column."""
    return clean(text).replace("\n", "\\n").replace("\t", "\\t")


def wants_colour(stream: IO[str]) -> bool:
    """Whether `stream` is a terminal whose owner wants colours (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb" and stream.isatty()


def paint(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """Return `text` in a colour, or as it is where `stream` (stdout) wants none."""
    if not colour or not wants_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def say(text: str) -> None:
    """Talk to the person: one line on stderr."""
    print(line(text), file=sys.stderr, flush=True)


def width() -> int:
    """Return the columns of the terminal."""
    import shutil

    return shutil.get_terminal_size().columns


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, colours: Callable[[Sequence[str]], str] | None = None
) -> Iterator[str]:
    """Yield the lines of a table; `colours` names the colour of a row's cells of more than blank weight.

    Off a terminal the rows are passed on one by one, so that a long list starts at once and needs no memory.
    """
    cleaned = ([line(cell) for cell in row] for row in rows)
    if not sys.stdout.isatty():
        yield from ("\t".join(row) for row in cleaned)
        return
    body = list(cleaned)
    if not body:
        return
    widths = [max(len(row[i]) for row in [list(header), *body]) for i in range(len(header))]
    room = width()
    yield paint(_row(header, widths)[:room], "bold")
    for row in body:
        yield paint(_row(row, widths)[:room], colours(row) if colours else "")


def record(cells: Sequence[str], widths: Sequence[int] = (), colour: str = "") -> str:
    """Return one row of a table whose other rows are not known yet: of fixed widths on a terminal, else with tabs."""
    cleaned = [line(cell) for cell in cells]
    if not sys.stdout.isatty():
        return "\t".join(cleaned)
    fixed = [*widths, *(0 for _ in range(len(cleaned) - len(widths)))]
    return paint(_row(cleaned, fixed)[: width()], colour)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True)).rstrip()


def age(seconds: float) -> str:
    """Return a duration in its largest unit: 12s, 5m, 3h, 2d."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def duration(seconds: float) -> str:
    """Return a measured duration with the digits that matter: 8 ms, 1.2 s, 3 min 20 s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(count: int) -> str:
    """Return a number of bytes in its largest binary unit: 512 B, 1.5 KiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def instant(when: datetime | None) -> str:
    """Return an instant as RFC 3339 in UTC, to the second; a dash for none."""
    return "-" if when is None else when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plural(count: int, noun: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the `error` member of an envelope."""
    if isinstance(error, RepairLabError):
        return {"code": error.exit_code, "message": error.message, "field": error.field or None, "fix": error.fix}
    message = f"{type(error).__name__}: {error}"
    return {"code": os.EX_SOFTWARE, "message": message, "field": None, "fix": "this is a bug; please report it"}


def envelope(command: str, data: Any, error: BaseException | None = None) -> str:
    """Return the one JSON object that a command with --json prints, on one line; `ok` says that the exit code is 0."""
    import orjson

    value = {
        "schema": f"repairlab/{command}/1",
        "ok": error is None,
        "data": _plain(data),
        "error": None if error is None else error_object(error),
    }
    text = orjson.dumps(value, default=_default, option=orjson.OPT_UTC_Z).decode()
    # orjson leaves 8-bit controls and overrides as they are; as \u escapes they are the same JSON and obeyed by nobody.
    return _HOSTILE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _plain(value: Any) -> Any:
    """Return the value without lone surrogates, which JSON cannot carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _default(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return _plain(os.fspath(value))
    import msgspec

    return _plain(msgspec.to_builtins(value))
