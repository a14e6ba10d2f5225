"""reach: open a producer's directory, in the name of who handed it in.

It lies strictly inside one of the roots, with every symlink in its path resolved, and is reached from the root by
descriptors, so that a path swapped underneath leads nowhere else. With a `reader` every directory from / on is asked
whether that person may enter it, and no answer tells what he could not find out himself.

Diagnostics: `BadInput` with field `bundle_dir`, `TemporaryFailure` for want of descriptors and the like.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from repairlab import access
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.sandbox.tree import DIRECTORY, TEMPORARY, refused


@contextmanager
def opened(source: Path, roots: Sequence[Path], reader: access.Person | None) -> Iterator[tuple[int, Path]]:
    """Open the directory `source`, reached from one of the roots without following anything on the way.

    Also the path that was opened: `source` may lead elsewhere by now, and is not to be resolved a second time.
    """
    if "\0" in str(source) or not source.is_absolute():
        raise refused(f"{str(source)!r} is not an absolute path", "write the path from / on")
    # Not strict: what lies outside is refused in the same words whether it exists or not, so nobody learns which.
    real = _resolved(source)
    bases = [root.resolve() for root in roots]
    base = next((base for base in bases if real != base and real.is_relative_to(base)), None)
    if base is None:
        written = Path(os.path.normpath(source))
        if reader is not None and any(written.is_relative_to(root) for root in (*roots, *bases)):
            raise _closed(source, reader)  # by a link in a directory that he may not be able to look into
        shown = ", ".join(str(root) for root in roots) or "none is configured"
        raise refused(f"{source} is outside the roots ({shown})", "use `repairlab submit DIR`, or add to bundles.roots")
    fd = _descend(base, real.relative_to(base).parts, source, reader)
    try:
        yield fd, real
    finally:
        os.close(fd)


def _resolved(source: Path) -> Path:
    try:
        return Path(os.path.realpath(source))
    except RecursionError:  # one call for each link of a chain; the kernel follows 40
        raise refused(f"{source} goes through too many links", "name the directory itself") from None


def _closed(source: Path, reader: access.Person) -> BadInput:
    """The same words for what is not there and what he may not see: or he could ask for what he may not list."""
    message = f"{source} is not there, or not readable for uid {reader.uid}, who handed it in"
    return refused(message, "hand in a copy of your own: `repairlab submit DIR`; no link may lead out of the roots")


def _descend(base: Path, parts: Sequence[str], source: Path, reader: access.Person | None) -> int:
    fd = -1
    try:
        fd = os.open(base, DIRECTORY)
        for part in parts:
            above, fd = fd, -1
            try:
                fd = os.open(part, DIRECTORY, dir_fd=above)
            finally:
                os.close(above)
            if reader is not None and not access.may(reader, fd, access.ENTER):
                raise _closed(source, reader)
        # The root and what is above it are the administrator's, who swaps nothing: these may be asked by their paths.
        if reader is not None and not all(access.may(reader, at, access.ENTER) for at in (base, *base.parents)):
            raise _closed(source, reader)
    except OSError as error:
        if error.errno in TEMPORARY:
            raise TemporaryFailure(f"{source}: {error.strerror}") from None
        if reader is not None:
            raise _closed(source, reader) from None
        raise refused(f"{source} cannot be opened: {error.strerror}", "name a directory that we may read") from None
    except BaseException:
        os.close(fd)
        raise
    return fd
