"""bench/libraries: well-known pure-Python libraries with their tests, as source distributions pinned by hash.

The first three are what bench/injected.py takes by default; the others are there to be held back. Fetching is pip's
business (whatever index the machine names), into a directory of the caller's; a second run finds them there.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Library:
    """One source distribution: what of it makes a bundle, and which of its files get bugs."""

    name: str
    version: str
    sha256: str
    kept: tuple[str, ...]  # directories that the bundle consists of
    spoiled: tuple[str, ...]  # files, or patterns of files, that bugs are put into
    dropped: tuple[str, ...] = ()  # files that do not run here: another pytest's hooks, modules that are not there

    @property
    def archive(self) -> str:
        """The file name of the distribution."""
        return f"{self.name}-{self.version}.tar.gz"


LIBRARIES = {
    library.name: library
    for library in (
        Library(
            "more-itertools",
            "10.5.0",
            "5482bfef7849c25dc3c6dd53a6173ae4795da2a41a80faea6700d9f5846c5da6",
            ("more_itertools", "tests"),
            ("more_itertools/more.py", "more_itertools/recipes.py"),
        ),
        Library(
            "toolz",
            "1.0.0",
            "2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02",
            ("toolz", "tlz"),
            ("toolz/*toolz.py", "toolz/recipes.py", "toolz/utils.py"),
        ),
        Library(
            "boltons",
            "25.0.0",
            "e110fbdc30b7b9868cb604e3f71d4722dd8f4dcb4a5ddd06028ba8f1ab0b5ace",
            ("boltons", "tests"),
            ("boltons/*.py",),
            ("tests/conftest.py",),
        ),
        Library(
            "humanize",
            "4.11.0",
            "e66f36020a2d5a974c504bd2555cf770621dbdbb6d82f94a6857c0b1ea2608be",
            ("src", "tests"),
            ("src/humanize/number.py", "src/humanize/filesize.py", "src/humanize/lists.py"),
            ("tests/test_i18n.py", "tests/test_time.py"),
        ),
        Library(
            "sqlparse",
            "0.5.1",
            "bb6b4df465655ef332548e24f08e205afc81b9ab86cb1c45657a7ff173a3a00e",
            ("sqlparse", "tests"),
            ("sqlparse/*.py", "sqlparse/*/*.py"),
        ),
    )
}
USUAL = ("more-itertools", "toolz", "boltons")


def fetched(library: Library, store: Path) -> Path:
    """Return the archive in `store`, downloaded where it is not there; raise where its hash is another."""
    archive = store / library.archive
    if not archive.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{library.name}=={library.version} --hash=sha256:{library.sha256}\n")
            wanted.flush()
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*command, "--require-hashes", "--dest", store, "--requirement", wanted.name], check=True)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != library.sha256:
        raise SystemExit(f"{archive}: is not the {library.version} that this bench was written for; remove it")
    return archive


def unpacked(library: Library, store: Path, place: Path) -> Path:
    """Unpack what the bundle consists of below `place`; return its root."""
    root = place / library.name
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        with tarfile.open(fetched(library, store)) as archive:
            archive.extractall(scratch, filter="data")
        (top,) = Path(scratch).iterdir()
        for directory in library.kept:
            shutil.copytree(top / directory, root / directory)
    for path in library.dropped:
        (root / path).unlink()
    return root


def targets(library: Library, root: Path) -> list[str]:
    """Return the files that bugs are put into."""
    return sorted({str(path.relative_to(root)) for pattern in library.spoiled for path in root.glob(pattern)})
