"""errors: what can go wrong, how a program says it, and the exit code that it owns.

Every expected failure is a `RepairLabError`. Its message names what is wrong, `field` the part of the input that is to
blame, `fix` what a person does about it. `reported` is the one boundary of every executable: it turns an expected
error into one line on stderr and the exit code of its class, trouble of the machine's that passes (`PASSING`) into that
of a `TemporaryFailure`, and anything else into a traceback and EX_SOFTWARE.

Exit codes are those of sysexits.h; 1 is the honest negative answer (not repaired, findings), never a malfunction.
"""

import errno
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

# What passes without anybody's doing wrong, and is told in these words.
PASSING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "this process has no file descriptor left",
    errno.ENFILE: "the system has no file descriptor left",
    errno.ENOMEM: "the system has no memory left",
    errno.EIO: "the disk reports an input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EMLINK: "the directory is full",
    errno.ENOLCK: "the system has no lock left",
}


class RepairLabError(Exception):
    """An expected failure; prints as `message (field: fix)`."""

    exit_code = os.EX_SOFTWARE

    def __init__(self, message: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.fix = fix

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.message}" + (f"; {self.fix}" if self.fix else "")


class NegativeAnswer(RepairLabError):
    """The program worked and the answer is no."""

    exit_code = 1


class UsageError(RepairLabError):
    """The command line is wrong."""

    exit_code = os.EX_USAGE


class BadInput(RepairLabError):
    """A document, bundle or file that was handed in is unusable; trying again does not help."""

    exit_code = os.EX_DATAERR


class Unavailable(RepairLabError):
    """Something that this program needs is not there: the sandbox, a queue, a running service."""

    exit_code = os.EX_UNAVAILABLE


class TemporaryFailure(RepairLabError):
    """Trouble of our own that passes: a full disk, a quota, a busy lock. Never counts against a job."""

    exit_code = os.EX_TEMPFAIL


class Forbidden(RepairLabError):
    """The operating system refused us."""

    exit_code = os.EX_NOPERM


class ConfigError(RepairLabError):
    """The configuration is wrong."""

    exit_code = os.EX_CONFIG


def equip() -> None:
    """Go on in an interpreter that has our packages: a checkout keeps its own in .venv, whatever `python3` is here."""
    if all(importlib.util.find_spec(name) for name in ("click", "msgspec", "orjson")):
        return
    venv = Path(__file__).resolve().parents[2] / ".venv"
    if Path(sys.prefix) != venv and (venv / "pyvenv.cfg").exists() and os.access(venv / "bin/python", os.X_OK):
        os.execv(venv / "bin/python", [str(venv / "bin/python"), *sys.argv])  # noqa: S606 - it becomes that one
    program = os.path.basename(sys.argv[0]) or "repairlab"
    sys.exit(reported(lambda _: _unequipped(venv.parent), [program]))


def _unequipped(top: Path) -> int:
    setup = top / "setup.sh"
    fix = f"`{setup} venv` brings them" if setup.exists() else "install it again with deploy/install"
    raise Unavailable(f"{sys.executable} lacks RepairLab's packages", fix=fix)


def reported(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Return the exit code of `main(argv)`, with every exception reported on stderr as its class demands."""
    program = os.path.basename(sys.argv[0]) or "repairlab"
    try:
        return main(argv)
    except RepairLabError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our stdout went away; a second flush at interpreter exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            where = f" ({error.filename!r})" if isinstance(error.filename, str) else ""
            print(f"{program}: {PASSING[error.errno]}{where}; try again when that has passed", file=sys.stderr)
            return os.EX_TEMPFAIL
        traceback.print_exc()
        print(f"{program}: this is a bug in {program}; please report the lines above", file=sys.stderr)
        return os.EX_SOFTWARE
