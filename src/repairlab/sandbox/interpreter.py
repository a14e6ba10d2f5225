"""interpreter: which directories a Python needs to run, found without running it.

An interpreter named by a bundle is only a path. It is followed link by link and its pyvenv.cfg is read as text; every
installation that it touches must be one that the operator has: the system's, our own, or one that was allowed. Of each
only what an interpreter reads is shown (bin, lib, lib64, pyvenv.cfg), because an installation in a person's home
has other things beside it.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repairlab.errors import BadInput

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
SHOWN = ("bin", "lib", "lib64", "pyvenv.cfg")
MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Mount:
    """Something of the host to be shown at `path`: a directory or file of the same path, or a symlink to `target`."""

    path: str
    target: str | None = None


def mounts(python: str, *, allowed: Sequence[str] = ()) -> list[Mount]:
    """Return what `python` needs beside the system's directories; BadInput when it may not be used."""
    if not os.path.isabs(python) or not os.access(python, os.X_OK):
        raise _refused(f"{python} is not the absolute path of an executable")
    own = set(_prefixes(os.path.abspath(sys.executable))) | set(allowed)
    found: list[Mount] = []
    for prefix in _prefixes(os.path.normpath(python)):
        if _below(prefix, SYSTEM):
            continue
        if not _below(prefix, own) and not _below(prefix, ("/opt",)):
            raise _refused(f"{python} belongs to {prefix}, which is no installation of the operator's")
        found.extend(mount for mount in _shown(prefix) if mount not in found)
    return found


def system() -> list[Mount]:
    """Return the system's own directories: /usr, and what a merged /usr has as symlinks beside it."""
    return [_mount(path) for path in SYSTEM if os.path.lexists(path)]


def _shown(prefix: str) -> Iterator[Mount]:
    for name in SHOWN:
        if os.path.lexists(path := os.path.join(prefix, name)):
            yield _mount(path)


def _mount(path: str) -> Mount:
    return Mount(path, os.readlink(path) if os.path.islink(path) else None)


def _prefixes(python: str) -> list[str]:
    """Return the installations on the way from this path to the binary, virtual environments' bases included."""
    found: list[str] = []
    pending = [python]
    for _ in range(MAX_LINKS):
        if not pending:
            return found
        path = pending.pop()
        prefix = os.path.dirname(os.path.dirname(path))
        if prefix not in found:
            found.append(prefix)
            if home := _home(prefix):
                pending.append(os.path.join(os.path.normpath(home), os.path.basename(path)))
        if os.path.islink(path):
            pending.append(os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))))
    raise _refused(f"{python} is a symlink of more than {MAX_LINKS} links")


def _home(prefix: str) -> str | None:
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8") as file:
            text = file.read(1 << 16)
    except (OSError, UnicodeDecodeError):
        return None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip().lower() == "home" and os.path.isabs(value.strip()):
            return value.strip()
    return None


def _below(path: str, bases: Sequence[str] | set[str]) -> bool:
    return any(path == base or path.startswith(f"{base}/") for base in bases)


def _refused(message: str) -> BadInput:
    return BadInput(
        message, field="python", fix="leave python out, or name an interpreter below /usr, /opt or RepairLab's own"
    )
