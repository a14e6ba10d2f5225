"""bundle: the files of a bundle in memory: which are tests, which may be edited, how to hand them to a sandbox.

The directory is read once, without following a symlink out of it, and never written. Tests are what the handoff names
and what pytest would find (test_*.py, *_test.py, conftest.py, everything below a directory `tests` or `test`); they are
never edited, whatever the handoff says; no more is the benchmark that it names. Held-out files are apart from all
others: they count in the bundle's hash and are handed to no sandbox but the one that judges a finished patch.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from repairlab.errors import BadInput
from repairlab.sandbox.tree import DIRECTORY, BundleLimits, Walk, hash_files
from repairlab.trial import options
from repairlab.trial.source import Edit, Source, Undecodable, dotted

_TEST_NAMES = ("test_*.py", "*_test.py", "conftest.py")
_NEVER = ("setup.py", "noxfile.py", "tasks.py")
_SET_UP = ("conftest.py", "__init__.py")
MAX_SOURCE = 4 << 20


@dataclass
class Bundle:
    """Contents by relative path; `sources` are the editable files."""

    files: dict[str, bytes]
    executable: frozenset[str]
    links: dict[str, str]
    tests: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    held_out: dict[str, bytes] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)  # for pytest, in place of what its configuration asks for
    left_out: list[str] = field(default_factory=list)
    benchmark: str = ""  # the file that times the code, where one is declared
    mended: dict[str, bytes] = field(default_factory=dict)  # original bytes of the files that `rebased` changed

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        tests: Sequence[str],
        editable: Sequence[str],
        limits: BundleLimits,
        held_out: Sequence[str] = (),
        benchmark: str | None = None,
    ) -> "Bundle":
        """Return the bundle at `path`; raise `BadInput` naming the field of the handoff that is to blame."""
        files, executable, links = _contents(path, limits)
        held = {name: files.pop(name) for name in _held(files, held_out)}
        bundle = cls(files, frozenset(executable), links, held_out=held)
        bundle.tests, bundle.benchmark = _named(files, tests), _benchmark(files, benchmark)
        bundle.options, bundle.left_out = options.left_out(files)
        named = {bundle.benchmark, *(name.partition("::")[0] for name in bundle.tests)}
        for name in sorted(files):
            below = any(name.startswith(directory.rstrip("/") + "/") for directory in named)
            if name.endswith(".py") and not (below or name in named or is_test(name)):
                bundle._admit(name, editable)
        if editable and not bundle.sources:
            raise BadInput(
                "names no Python file that is not a test", field="editable", fix="name a source file or leave it out"
            )
        return bundle

    def _admit(self, name: str, editable: Sequence[str]) -> None:
        wanted = any(matches(name, pattern) for pattern in editable) if editable else Path(name).name not in _NEVER
        if wanted and len(self.files[name]) <= MAX_SOURCE:
            try:
                self.sources[name] = Source.decode(name, self.files[name])
            except Undecodable:
                pass  # it can run, but an edit could not keep its bytes

    def rebased(self, texts: Mapping[str, str]) -> "Bundle":
        """Return the bundle with other texts of some sources; its patches still begin at the files as they came."""
        sources = dict(self.sources)
        for path, text in texts.items():
            sources[path] = Source(path, text, self.sources[path].encoding)
        new = {path: sources[path].patched(()) for path in texts}
        came = {path: self.files[path] for path in texts} | self.mended
        return replace(self, files={**self.files, **new}, sources=sources, mended=came)

    def leave_out(self, unknown: Sequence[str], plugins: Sequence[str], required: bool) -> bool:
        """Have pytest do without options and plugins of its configuration; False where it names none of them."""
        before = self.options
        wanted, self.left_out = options.left_out(self.files, [*self.left_out, *unknown], [*self.left_out, *plugins])
        kept = ["-o", "required_plugins="] if required or "required_plugins=" in before else []
        self.options = [*wanted, *kept]
        return self.options != before

    def as_it_came(self, path: str) -> bytes:
        """Return the bytes of a file before any change."""
        return self.mended.get(path, self.files[path])

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted module name → path of every Python file, as imports from the bundle's root (and src/) know it."""
        found: dict[str, str] = {}
        for path in sorted(path for path in self.files if path.endswith(".py")):
            parts = dotted(path).split(".")
            for count in range(1, len(parts)):  # packages, also those without an __init__.py
                found.setdefault(".".join(parts[:count]), path)
            found[".".join(parts)] = path
        return found

    def sha256(self, files: Mapping[str, bytes] | None = None) -> str:
        """Return the hash of the sources as they came, with the contents `files` in place of their own."""
        whole = {**self.files, **self.held_out, **self.mended, **(files or {})}
        return hash_files(whole, executable=self.executable, links=self.links)

    def patched(self, edits: Iterable[Edit]) -> dict[str, bytes]:
        """Return path → new bytes of the files that `edits` change, or that were mended before."""
        by_path: dict[str, list[Edit]] = {}
        for edit in edits:
            by_path.setdefault(edit.path, []).append(edit)
        for path in self.mended:
            by_path.setdefault(path, [])
        return {path: self.sources[path].patched(group) for path, group in by_path.items()}

    def entries(self, files: Mapping[str, bytes] | None = None) -> Iterator[tuple[str, str, bytes]]:
        """Yield (path, kind, content) for the sandbox's `send_files`, with `files` in place of the bundle's own."""
        for path, content in {**self.files, **(files or {})}.items():
            yield path, "x" if path in self.executable else "f", content
        for path, target in self.links.items():
            yield path, "l", target.encode()

    @property
    def held_out_tests(self) -> list[str]:
        """The held-out files that pytest is pointed at."""
        return list(filter(may_hold, sorted(self.held_out)))

    @property
    def import_paths(self) -> list[str]:
        """Directories that a src layout puts on the import path, relative to the bundle."""
        return (
            ["src"]
            if any(path.startswith("src/") for path in self.files) and "src/__init__.py" not in self.files
            else []
        )


def _contents(path: Path, limits: BundleLimits) -> tuple[dict[str, bytes], set[str], dict[str, str]]:
    try:
        fd = os.open(path, DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        why = f"{path}: {error.strerror}"
        raise BadInput(why, field="bundle_dir", fix="name a readable directory") from None
    files: dict[str, bytes] = {}
    executable: set[str] = set()
    links: dict[str, str] = {}
    try:
        walk = Walk(fd, limits)
        for source in walk:
            if source.kind == "l":
                links[source.path] = source.target
                continue
            files[source.path] = b"".join(walk.read(source))
            if source.kind == "x":
                executable.add(source.path)
    finally:
        os.close(fd)
    if not files:
        raise BadInput(f"{path} holds no file", field="bundle_dir", fix="name the directory of the failing project")
    return files, executable, links


def _named(files: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return what the handoff's `tests` stand for, in order: paths, directories, globs, each with ::name or not."""
    found: dict[str, None] = {}
    ordered = sorted(files)
    for pattern in patterns:
        path, sep, name = pattern.partition("::")
        _check_inside(path, "tests")
        path = path.removeprefix("./").rstrip("/") or "."
        directory = path == "." or any(other.startswith(path + "/") for other in ordered)
        hits = [path] if directory else [other for other in ordered if matches(other, path)]
        if not hits:
            raise BadInput(
                f"{pattern!r} matches no file of the bundle",
                field="tests",
                fix="use a path or glob relative to bundle_dir",
            )
        found.update((hit + sep + name, None) for hit in hits)
    return list(found)


def _check_inside(path: str, field: str) -> None:
    if path.startswith(("/", "-")) or ".." in PurePosixPath(path).parts:
        why = f"{path!r} does not stay inside the bundle"
        raise BadInput(why, field=field, fix="use a path relative to bundle_dir")


def _held(files: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the files that `held_out` stands for: paths, directories, globs; one Python file at least."""
    found: dict[str, None] = {}
    for pattern in patterns:
        _check_inside(pattern, "held_out")
        hits = [name for name in files if matches(name, pattern)]
        if not hits:
            why = f"{pattern!r} matches no file of the bundle"
            raise BadInput(why, field="held_out", fix="use a path or glob relative to bundle_dir")
        found.update(dict.fromkeys(hits))
    if found and not any(map(may_hold, found)):
        raise BadInput("names no file with tests", field="held_out", fix="name a test file or leave it out")
    return list(found)


def _benchmark(files: Iterable[str], path: str | None) -> str:
    """Return the name of the file that `benchmark` means, "" where none is declared."""
    if path is None:
        return ""
    _check_inside(path, "benchmark")
    name = path.removeprefix("./")
    if name not in files or not name.endswith(".py"):
        why = f"{path!r} is no Python file of the bundle"
        raise BadInput(why, field="benchmark", fix="name one file, relative to bundle_dir, that is not held out")
    return name


def matches(path: str, pattern: str) -> bool:
    """True where a relative path is `pattern`, lies below it, or fits it as a glob (`**` any depth)."""
    pattern = pattern.removeprefix("./").rstrip("/")
    if path == pattern or path.startswith(pattern + "/"):
        return True
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase("/" + path, "*/" + pattern.removeprefix("**/"))


def may_hold(path: str) -> bool:
    """True for Python files that are more than the set-up of tests."""
    return path.endswith(".py") and Path(path).name not in _SET_UP


def is_test(path: str) -> bool:
    """True for files that pytest takes tests or their set-up from, and for what lies beside them."""
    *directories, name = path.split("/")
    return any(fnmatch.fnmatchcase(name, form) for form in _TEST_NAMES) or any(
        d in ("tests", "test") for d in directories
    )
