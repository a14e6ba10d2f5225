"""source: one Python file as text, with edits as spans over it, so that everything outside an edit stays to the byte.

A file is editable when its declared encoding decodes it and encodes it back to the same bytes. Positions are character
offsets; `ast` counts UTF-8 bytes within lines that end in \\n, \\r\\n or \\r, and `Source.span` translates.
"""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, wraps
from itertools import pairwise
from typing import TypeVar

_LINE_END = re.compile(r"\r\n|\r|\n")
BOM = b"\xef\xbb\xbf"

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # the last: nested too deep for the parser's stack

Located = ast.expr | ast.stmt | ast.arg | ast.keyword | ast.ExceptHandler | ast.alias


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace the characters `start` to `end` of `path` by `text`."""

    path: str
    start: int
    end: int
    text: str


class Undecodable(Exception):
    """The bytes do not survive decoding and encoding with the declared encoding."""


@dataclass
class Source:
    """A file's text; `encoding` brings back its bytes exactly (a byte order mark is part of it)."""

    path: str
    text: str
    encoding: str
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = [0, *(found.end() for found in _LINE_END.finditer(self.text))]

    @classmethod
    def decode(cls, path: str, raw: bytes) -> "Source":
        """Return the source of `raw`; raise `Undecodable` where an edit could not keep the other bytes."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
            text = raw.decode(encoding)
            if text.encode(encoding) != raw or "\x00" in text:
                raise Undecodable(path)
        except (SyntaxError, UnicodeError, LookupError) as error:
            raise Undecodable(f"{path}: {error}") from None
        return cls(path, text, encoding)

    def edited(self, edits: Iterable[Edit]) -> str:
        """Return the text after `edits` (all of this file, not overlapping)."""
        text = self.text
        for edit in sorted(edits, reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text

    def patched(self, edits: Iterable[Edit]) -> bytes:
        """Return the file's bytes after `edits`; raise `Undecodable` where new text does not fit the encoding."""
        try:
            return self.edited(edits).encode(self.encoding)
        except UnicodeError as error:
            raise Undecodable(f"{self.path}: {error}") from None

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; raises one of `UNPARSABLE` for what no parser reads."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bundle's doubtful escapes are none of our user's business
            return ast.parse(self.text)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Each node's parent."""
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes as `ast.walk` has them: walking a file of 20,000 lines costs a third of a second each time."""
        return list(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """The dotted name by which the file is imported."""
        return dotted(self.path)

    @cached_property
    def top_level(self) -> frozenset[str]:
        """The functions, classes and variables that the module defines; none where it does not parse."""
        try:
            return frozenset(name for statement in self.tree.body for name in _defined(statement))
        except UNPARSABLE:
            return frozenset()

    def offset(self, line: int, column: int) -> int:
        """Return the character offset of ast's (1-based line, UTF-8 byte column)."""
        start = self.starts[line - 1]
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        head = self.text[start:end]
        if head.isascii():
            return start + column
        return start + len(head.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))

    def span(self, node: Located) -> tuple[int, int]:
        """Return the character span of `node`, decorators left out, parentheses around it left out."""
        assert node.end_lineno is not None  # true, like the next, of everything that was parsed
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def segment(self, node: Located) -> str:
        """Return the text of `node`."""
        start, end = self.span(node)
        return self.text[start:end]

    def line_span(self, first: int, last: int) -> tuple[int, int]:
        """Return the span of the lines `first` to `last`, line ends included."""
        end = self.starts[last] if last < len(self.starts) else len(self.text)
        return self.starts[first - 1], end

    def line_text(self, line: int) -> str:
        """Return one line without its end."""
        start, end = self.line_span(line, line)
        return self.text[start:end].rstrip("\r\n")

    def newline(self, line: int) -> str:
        """Return the line end that the file uses near `line`."""
        for number in (line, line - 1, 1):
            if 1 <= number <= len(self.starts):
                start, end = self.line_span(number, number)
                found = _LINE_END.search(self.text, start, end)
                if found:
                    return found.group()
        return "\n"

    def indent(self, line: int) -> str:
        """Return the white space that `line` begins with."""
        text = self.line_text(line)
        return text[: len(text) - len(text.lstrip(" \t\f"))]

    def definitions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Return the functions, outer before inner."""
        return self._definitions

    @cached_property
    def _definitions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def dotted(path: str) -> str:
    """Return the name by which a file is imported from the bundle's root, or from src/."""
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
    elif isinstance(statement, ast.If | ast.Try):
        for inner in [*statement.body, *statement.orelse]:
            yield from _defined(inner)


def overlapping(edits: Iterable[Edit]) -> bool:
    """True where two edits of one file touch the same characters or insert at the same place."""
    ordered = sorted(edits)
    return any(
        one.path == two.path and (two.start < one.end or two.start == one.start) for one, two in pairwise(ordered)
    )


Found = TypeVar("Found")


def once(find: Callable[[Source], Found]) -> Callable[[Source], Found]:
    """Keep what a function finds in a file with the file, so that it looks once; who gets it leaves it as it is."""
    name = f"{find.__module__}.{find.__qualname__}"

    @wraps(find)
    def found(source: Source) -> Found:
        if name not in source.__dict__:
            source.__dict__[name] = find(source)
        known: Found = source.__dict__[name]
        return known

    return found
