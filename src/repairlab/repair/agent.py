"""repairlab-agent: one attempt at repairing one bundle.

    repairlab-agent --handoff FILE --out DIR [--effort N]

Prints exactly one JSON object (`Telemetry`) on stdout and logs on stderr. Files touched: DIR/telemetry.json,
DIR/patch.diff (the best), DIR/candidates/NN.diff (the N best); each appears whole or not at all. The bundle is read
and never written. Its code runs in the sandbox and nowhere else.

Files read besides: <root>/patterns/*.json, what other repairs taught. Only where `llm.enabled` is set, one question is
put into <root>/llm/requests/, and <root>/llm/responses/ID.json is waited for; the agent itself has no network.

Exit status: 0 the tests pass in a fresh sandbox (with the patch, or without one: strategy noop) · 1 not repaired,
`reason` says why · 64 usage · 65 bad handoff or bundle · 69 no sandbox · 75 try again later. SIGTERM and the deadline
end the search; the telemetry is then written with the best so far.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repairlab import config
from repairlab.commandline import Parser, positive
from repairlab.documents import Handoff, Telemetry, decode, encode
from repairlab.errors import BadInput, TemporaryFailure, UsageError

if TYPE_CHECKING:  # heavy: imported where they are needed, so that --help feels instant
    from repairlab.repair.attempt import Attempt
    from repairlab.repair.report import Report


def main(argv: Sequence[str]) -> int:
    """Attempt one repair and report it."""
    options = parser().read(argv)
    from repairlab.repair.report import Report

    handoff = decode(_read(options.handoff), Handoff)
    previous = signal.getsignal(signal.SIGTERM)
    attempt = _attempted(handoff, options.effort)
    try:
        telemetry = _written(Report(attempt), options.out)
    finally:
        attempt.close()
    sys.stdout.buffer.write(encode(telemetry))  # bytes: JSON is UTF-8, whatever the locale
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, previous)
    return os.EX_OK if telemetry.ok else 1


def _attempted(handoff: Handoff, effort: int) -> "Attempt":
    """Return the attempt, however far it got; interrupted before the bundle was read there is nothing to report."""
    from repairlab.repair.attempt import Attempt, Interrupted

    attempt = None
    try:  # around both changes of the handler, so that the signal has no moment outside
        signal.signal(signal.SIGTERM, _interrupt)
        attempt = Attempt(handoff, config.load(), effort=effort)
        attempt.run()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on only writing is left, and it is short
    except Interrupted:
        if attempt is None:
            raise TemporaryFailure("SIGTERM came before the attempt had begun", fix="try again") from None
        attempt.interrupted()
    except BaseException:
        if attempt is not None:
            attempt.close()
        raise
    return attempt


def _interrupt(_number: int, _frame: object) -> None:
    from repairlab.repair.attempt import Interrupted

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted


def parser() -> Parser:
    """Return the command line, for the man page too."""
    made = Parser("repairlab-agent", "Attempt to repair one bundle.", root=False)
    made.add_argument("--handoff", required=True, type=Path, metavar="FILE", help="the handoff document")
    made.add_argument("--out", required=True, type=Path, metavar="DIR", help="where patch and telemetry go")
    made.add_argument(
        "--effort",
        type=positive,
        default=1,
        metavar="N",
        help="1 is the first attempt; attempt N searches wider, and begins with what the one before did not try",
    )
    return made


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read((1 << 20) + 1)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", field="--handoff", fix="name a readable file") from None


def _written(report: "Report", out: Path) -> Telemetry:
    """Write the files of the report, each by rename, the telemetry last; return the telemetry."""
    try:
        (out / "candidates").mkdir(parents=True, exist_ok=True)
        for name, diff in report.diffs().items():
            _put(out / name, diff)
        telemetry = report.telemetry()
        _put(out / "telemetry.json", encode(telemetry))
    except NotADirectoryError as error:
        raise UsageError(f"{out}: {error.strerror}", field="--out") from None
    except OSError as error:
        raise TemporaryFailure(f"{out}: {error.strerror}", field="--out", fix="trying again later may help") from None
    return telemetry


def _put(path: Path, content: bytes) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_bytes(content)
    os.replace(staged, path)
