"""library: the patterns of `<root>/patterns/*.json`, read once an attempt.

What is mined from bundles is as untrusted as they are. Files are opened without following links; their number, size and
sum are bounded. What is damaged, does not decode, is not what its id says or cannot be applied is left out, counted
and named. Nothing of a pattern is ever run here. A missing directory is an empty library.
"""

import ast
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from repairlab.documents import FunctionPattern, Pattern, decode, pattern_id
from repairlab.errors import BadInput
from repairlab.patterns import BadTemplate, Compiled, Fingerprint, compiled
from repairlab.patterns.functions import Function, tokens_of
from repairlab.patterns.templates import UNPARSABLE
from repairlab.sandbox.tree import DIRECTORY, REGULAR

MAX_FILE = 256 << 10
MAX_TOTAL = 32 << 20
NAMED = 5  # files that were left out and are told by name


@dataclass(frozen=True)
class Edit:
    """A pattern that is a generalised edit."""

    pattern: Pattern
    template: Compiled


@dataclass(frozen=True, eq=False)
class Whole:
    """A pattern that is a function; parsed only where it is likely, since most never are."""

    pattern: Pattern
    content: FunctionPattern

    @cached_property
    def function(self) -> Function:
        """The function's syntax; raises `BadTemplate` or one of `UNPARSABLE` where it is none."""
        return _function(self.content.source)

    @cached_property
    def marks(self) -> Fingerprint:
        """The fingerprints as the pattern tells them: a lie only costs its own place."""
        return Fingerprint(
            self.content.ast_sha256, tuple(self.content.minhash), tokens_of(self.content.name), frozenset()
        )

    @property
    def method(self) -> bool:
        """True for what takes its object first."""
        return bool(self.content.parameters) and self.content.parameters[0].name in ("self", "cls")


@dataclass
class Library:
    """What could be used of the pattern files, and what not."""

    edits: list[Edit] = field(default_factory=list)
    functions: list[Whole] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path, limit: int) -> "Library":
        """Return the library; at most `limit` files are read, in the order of their names."""
        found = cls()
        for name, raw in found._files(directory, limit):
            try:
                found._admit(decode(raw, Pattern, max_bytes=MAX_FILE))
            except (BadInput, BadTemplate, *UNPARSABLE) as error:
                found.skipped[name] = str(error)[:200]
        return found

    def _files(self, directory: Path, limit: int) -> Iterator[tuple[str, bytes]]:
        try:
            at = os.open(directory, DIRECTORY)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.skipped[directory.name] = str(error.strerror)
            return
        try:
            names = sorted(name for name in os.listdir(at) if name.endswith(".json") and not name.startswith("."))
            if len(names) > limit:
                self.skipped[f"{len(names) - limit} more"] = f"only {limit} are read"
            total = 0
            for name in names[:limit]:
                raw = self._content(name, at)
                total += len(raw)
                if total > MAX_TOTAL:
                    self.skipped[name] = f"the files before it have {MAX_TOTAL} bytes already"
                    return
                if raw:
                    yield name, raw
        finally:
            os.close(at)

    def _content(self, name: str, at: int) -> bytes:
        try:
            fd = os.open(name, REGULAR, dir_fd=at)
        except OSError as error:
            self.skipped[name] = str(error.strerror)
            return b""
        known = os.fstat(fd)
        if not stat.S_ISREG(known.st_mode) or not 0 < known.st_size <= MAX_FILE:
            os.close(fd)
            self.skipped[name] = f"is no file of 1 to {MAX_FILE} bytes"
            return b""
        with open(fd, "rb") as stream:
            return stream.read(MAX_FILE)

    def _admit(self, pattern: Pattern) -> None:
        content = pattern.edit or pattern.function
        fits = (pattern.edit is None, pattern.function is None) == (pattern.kind == "function", pattern.kind == "edit")
        if content is None or not fits or pattern_id(content) != pattern.id:
            raise BadTemplate("its kind or id is not that of its content")
        if pattern.edit is not None:
            self.edits.append(Edit(pattern, compiled(pattern.edit)))
        elif pattern.function is not None:
            self.functions.append(Whole(pattern, pattern.function))

    @cached_property
    def by_head(self) -> dict[type[ast.AST], list[Edit]]:
        """The edits by the syntax that a place must have to be worth a look."""
        found: dict[type[ast.AST], list[Edit]] = {}
        for edit in self.edits:
            found.setdefault(type(edit.template.head), []).append(edit)
        return found

    @property
    def told(self) -> str:
        """What was left out, in words."""
        if not self.skipped:
            return ""
        names = [f"{name} ({why})" for name, why in list(self.skipped.items())[:NAMED]]
        return f"{len(self.skipped)} patterns left out: {', '.join(names)}"


def _function(source: str) -> Function:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    if len(tree.body) != 1 or not isinstance(tree.body[0], Function):
        raise BadTemplate("is not one function")
    return tree.body[0]


def is_method(function: Function) -> bool:
    """True for a function whose first parameter says so."""
    first = [*function.args.posonlyargs, *function.args.args][:1]
    return bool(first) and first[0].arg in ("self", "cls")
