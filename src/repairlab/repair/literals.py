"""literals: the numbers, strings, words and exception types that a bundle's files hold: what an edit may put in place.

Tests and docstrings say what a program should answer, so their literals are the likeliest of those that the code
lacks: short strings as they are, quoted pieces, words and numbers of long ones. Everything is read as syntax; nothing
of the bundle is imported. The pools are bounded, the commonest first.
"""

import ast
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from repairlab.repair.transformations.callees import callees_of
from repairlab.repair.transformations.site import MAX_BITS, Project
from repairlab.trial.source import UNPARSABLE, Source

MAX_HINT_FILES = 200
SHORT, LONGEST = 40, 20_000  # characters: what is a literal by itself; what is read of a longer one
POOL = 200
_NUMBER = re.compile(r"(?<![\w.])\d{1,6}(?:\.\d{1,4})?(?![\w.])")
_QUOTED = re.compile(r"(?<!\w)'([^'\n\\]{1,40})'(?!\w)|\"([^\"\n\\]{1,40})\"|`([^`\n\\]{1,40})`")
_WORD = re.compile(r"[A-Za-z][A-Za-z-]{2,20}")
_EXCEPTION = re.compile(r"[A-Z]\w*(?:Error|Exception|Exit|Warning)|StopIteration|KeyboardInterrupt")


class Pools:
    """Counts of what was found."""

    def __init__(self) -> None:
        self.attributes: Counter[str] = Counter()
        self.strings: Counter[str] = Counter()
        self.numbers: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.exceptions: Counter[str] = Counter()

    def read(self, tree: ast.Module, *, own: bool) -> None:
        """Count what one file holds; `own` files give their attributes too."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                self.attributes[node.attr] += own
            elif isinstance(node, ast.Constant):
                self._constant(node.value)
            elif isinstance(node, ast.Name | ast.ClassDef):
                name = node.id if isinstance(node, ast.Name) else node.name
                if _EXCEPTION.fullmatch(name):
                    self.exceptions[name] += 1

    def _constant(self, value: object) -> None:
        if isinstance(value, str):
            if len(value) <= SHORT:
                self.strings[repr(value)] += 1
                self.words.update(_WORD.findall(value))
            else:
                self._prose(value[:LONGEST])
        elif isinstance(value, float) or (type(value) is int and value.bit_length() <= MAX_BITS):
            self.numbers[repr(value)] += 1

    def _prose(self, text: str) -> None:
        self.numbers.update(text for text in _NUMBER.findall(text) if not re.match(r"0\d", text))
        self.strings.update(repr("".join(found)) for found in _QUOTED.findall(text))
        self.words.update(_WORD.findall(text))

    def project(self, types: Mapping[tuple[str, int, str], str], width: int) -> Project:
        """Return the pools in their order, with what the runs saw."""
        attributes = Counter({name: count for name, count in self.attributes.items() if count})
        return Project(
            _ranked(attributes),
            _ranked(self.strings),
            _ranked(self.numbers),
            words=tuple(_ranked(self.words, 3 * POOL)),
            exceptions=tuple(_ranked(self.exceptions)),
            types=types,
            width=width,
        )


def project_of(
    files: Mapping[str, bytes], sources: Mapping[str, Source], types: Mapping[tuple[str, int, str], str], width: int
) -> Project:
    """Return the pools that all files of the bundle offer; tests give no attributes."""
    pools = Pools()
    for path in [*sources, *_others(files, sources)]:
        try:
            tree = sources[path].tree if path in sources else _parsed(files[path])
        except UNPARSABLE:
            continue
        pools.read(tree, own=path in sources)
    project = pools.project(types, width)
    project.definitions = _definitions(sources)
    project.callees = callees_of(sources[path] for path in sorted(sources))
    return project


def _definitions(sources: Mapping[str, Source]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(sources):
        for name in sorted(sources[path].top_level):
            found[name].append(sources[path].module)
    return {name: tuple(modules) for name, modules in found.items()}


def _others(files: Iterable[str], sources: Mapping[str, Source]) -> list[str]:
    return [name for name in files if name.endswith(".py") and name not in sources][:MAX_HINT_FILES]


def _parsed(raw: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a bundle's doubtful escapes are none of our user's business
        return ast.parse(raw)


def _ranked(counted: Counter[str], most: int = POOL) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:most])
