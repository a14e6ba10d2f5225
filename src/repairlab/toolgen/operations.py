"""operations: what expressions are made of: Python's own, over numbers, strings, lists and dicts.

An operation is a template of source text and a function that does the same to values. It runs in this process, on the
examples of a spec and on nothing else, so each one is bounded: what would grow beyond `LARGE` raises before it is
built, and an expression that raises on an example is no candidate.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LARGE = 10_000
NUMBER, TEXT, LIST, DICT, BOOL, ANY = "number", "text", "list", "dict", "bool", "any"


class TooLarge(Exception):
    """A value grew beyond the bound."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`template` has a place {0}, {1} … for each operand; `kinds` say which values it takes; `atom` needs no ( )."""

    template: str
    kinds: tuple[str, ...]
    apply: Callable[..., Any]
    atom: bool = True
    commutes: bool = False


def kind_of(value: Any) -> str:
    """Return which kind of value this is."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list | tuple | set | frozenset):
        return LIST
    return DICT if isinstance(value, dict) else ANY


def bounded(value: Any) -> Any:
    """Return the value if it is of bearable size."""
    if isinstance(value, str | list | tuple | dict | set) and len(value) > LARGE:
        raise TooLarge
    if isinstance(value, int) and abs(value) > 1 << 64:
        raise TooLarge
    return value


def _repeat(one: str, count: int) -> str:
    _room(len(one) * count)
    return one * count


def _join(between: str, parts: Sequence[Any]) -> str:
    _room(len(between) * (len(parts) - 1) + sum(map(len, parts)))
    return between.join(parts)


def _replace(text: str, old: str, new: str) -> str:
    _room(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def _zfill(text: str, width: int) -> str:
    _room(width)
    return text.zfill(width)


def _room(length: float) -> None:
    """Refuse what would be larger than `LARGE`, before it is built."""
    if length > LARGE:
        raise TooLarge


def _power(base: Any, exponent: Any) -> Any:
    if not 0 <= exponent <= 64 or abs(base) > 1 << 16:
        raise TooLarge
    return base**exponent


def _range(*bounds: Any) -> list[int]:
    found = range(*bounds)
    _room(len(found))
    return list(found)


UNARY = (
    Operation("{0}.lower()", (TEXT,), str.lower),
    Operation("{0}.upper()", (TEXT,), str.upper),
    Operation("{0}.strip()", (TEXT,), str.strip),
    Operation("{0}.title()", (TEXT,), str.title),
    Operation("{0}.capitalize()", (TEXT,), str.capitalize),
    Operation("{0}.swapcase()", (TEXT,), str.swapcase),
    Operation("{0}.split()", (TEXT,), str.split),
    Operation("{0}.isdigit()", (TEXT,), str.isdigit),
    Operation("{0}.isalpha()", (TEXT,), str.isalpha),
    Operation("{0}.isalnum()", (TEXT,), str.isalnum),
    Operation("{0}.isupper()", (TEXT,), str.isupper),
    Operation("{0}.islower()", (TEXT,), str.islower),
    Operation("int({0})", (TEXT,), int),
    Operation("float({0})", (TEXT,), float),
    Operation("ord({0})", (TEXT,), ord),
    Operation("list({0})", (TEXT,), list),
    Operation("{0}[::-1]", (TEXT,), lambda x: x[::-1]),
    Operation("{0}[::-1]", (LIST,), lambda x: x[::-1]),
    Operation("{0}[0]", (LIST,), lambda x: x[0]),
    Operation("{0}[-1]", (LIST,), lambda x: x[-1]),
    Operation("{0}[1:]", (LIST,), lambda x: x[1:]),
    Operation("{0}[:-1]", (LIST,), lambda x: x[:-1]),
    Operation("{0}[0]", (TEXT,), lambda x: x[0]),
    Operation("{0}[-1]", (TEXT,), lambda x: x[-1]),
    Operation("{0}[1:]", (TEXT,), lambda x: x[1:]),
    Operation("{0}[:-1]", (TEXT,), lambda x: x[:-1]),
    Operation("len({0})", (LIST,), len),
    Operation("len({0})", (TEXT,), len),
    Operation("len({0})", (DICT,), len),
    Operation("sorted({0})", (LIST,), sorted),
    Operation("sorted({0}, reverse=True)", (LIST,), lambda x: sorted(x, reverse=True)),
    Operation("sorted({0})", (TEXT,), sorted),
    Operation("sum({0})", (LIST,), sum),
    Operation("max({0})", (LIST,), max),
    Operation("min({0})", (LIST,), min),
    Operation("list(dict.fromkeys({0}))", (LIST,), lambda x: list(dict.fromkeys(x))),
    Operation("len(set({0}))", (LIST,), lambda x: len(set(x))),
    Operation("len(set({0}))", (TEXT,), lambda x: len(set(x))),
    Operation("list({0})", (LIST,), list),
    Operation("any({0})", (LIST,), any),
    Operation("all({0})", (LIST,), all),
    Operation("dict(Counter({0}))", (LIST,), lambda x: dict(Counter(x))),
    Operation("dict(Counter({0}))", (TEXT,), lambda x: dict(Counter(x))),
    Operation("list({0})", (DICT,), list),
    Operation("list({0}.values())", (DICT,), lambda x: list(x.values())),
    Operation("list({0}.items())", (DICT,), lambda x: list(x.items())),
    Operation("{{v: k for k, v in {0}.items()}}", (DICT,), lambda x: {v: k for k, v in x.items()}),
    Operation("list(range({0}))", (NUMBER,), _range),
    Operation("str({0})", (NUMBER,), str),
    Operation("abs({0})", (NUMBER,), abs),
    Operation("round({0})", (NUMBER,), round),
    Operation("-{0}", (NUMBER,), lambda x: -x, atom=False),
    Operation("not {0}", (BOOL,), lambda x: not x, atom=False),
)
BINARY = (
    Operation("{0} + {1}", (NUMBER, NUMBER), lambda a, b: a + b, atom=False, commutes=True),
    Operation("{0} - {1}", (NUMBER, NUMBER), lambda a, b: a - b, atom=False),
    Operation("{0} * {1}", (NUMBER, NUMBER), lambda a, b: a * b, atom=False, commutes=True),
    Operation("{0} // {1}", (NUMBER, NUMBER), lambda a, b: a // b, atom=False),
    Operation("{0} / {1}", (NUMBER, NUMBER), lambda a, b: a / b, atom=False),
    Operation("{0} % {1}", (NUMBER, NUMBER), lambda a, b: a % b, atom=False),
    Operation("{0} ** {1}", (NUMBER, NUMBER), _power, atom=False),
    Operation("max({0}, {1})", (NUMBER, NUMBER), max, commutes=True),
    Operation("min({0}, {1})", (NUMBER, NUMBER), min, commutes=True),
    Operation("{0} == {1}", (NUMBER, NUMBER), lambda a, b: a == b, atom=False, commutes=True),
    Operation("{0} < {1}", (NUMBER, NUMBER), lambda a, b: a < b, atom=False),
    Operation("{0} <= {1}", (NUMBER, NUMBER), lambda a, b: a <= b, atom=False),
    Operation("{0} == {1}", (TEXT, TEXT), lambda a, b: a == b, atom=False, commutes=True),
    Operation("{0} == {1}", (LIST, LIST), lambda a, b: a == b, atom=False, commutes=True),
    Operation("{0} and {1}", (BOOL, BOOL), lambda a, b: a and b, atom=False, commutes=True),
    Operation("{0} or {1}", (BOOL, BOOL), lambda a, b: a or b, atom=False, commutes=True),
    Operation("{0} + {1}", (TEXT, TEXT), lambda a, b: a + b, atom=False),
    Operation("{0} * {1}", (TEXT, NUMBER), _repeat, atom=False),
    Operation("{0} in {1}", (TEXT, TEXT), lambda a, b: a in b, atom=False),
    Operation("{0}.split({1})", (TEXT, TEXT), lambda a, b: a.split(b)),
    Operation("{0}.join({1})", (TEXT, LIST), _join),
    Operation("{0}.count({1})", (TEXT, TEXT), lambda a, b: a.count(b)),
    Operation("{0}.find({1})", (TEXT, TEXT), lambda a, b: a.find(b)),
    Operation("{0}.startswith({1})", (TEXT, TEXT), lambda a, b: a.startswith(b)),
    Operation("{0}.endswith({1})", (TEXT, TEXT), lambda a, b: a.endswith(b)),
    Operation("{0}.removeprefix({1})", (TEXT, TEXT), lambda a, b: a.removeprefix(b)),
    Operation("{0}.removesuffix({1})", (TEXT, TEXT), lambda a, b: a.removesuffix(b)),
    Operation("{0}.strip({1})", (TEXT, TEXT), lambda a, b: a.strip(b)),
    Operation("{0}.zfill({1})", (TEXT, NUMBER), _zfill),
    Operation("{0}[{1}]", (TEXT, NUMBER), lambda a, b: a[b]),
    Operation("{0}[:{1}]", (TEXT, NUMBER), lambda a, b: a[:b]),
    Operation("{0}[{1}:]", (TEXT, NUMBER), lambda a, b: a[b:]),
    Operation("{0} + {1}", (LIST, LIST), lambda a, b: a + b, atom=False),
    Operation("{0}[{1}]", (LIST, NUMBER), lambda a, b: a[b]),
    Operation("{0}[:{1}]", (LIST, NUMBER), lambda a, b: a[:b]),
    Operation("{0}[{1}:]", (LIST, NUMBER), lambda a, b: a[b:]),
    Operation("{0}[::{1}]", (LIST, NUMBER), lambda a, b: a[::b]),
    Operation("{0}.count({1})", (LIST, ANY), lambda a, b: a.count(b)),
    Operation("{1} in {0}", (LIST, ANY), lambda a, b: b in a, atom=False),
    Operation("list(zip({0}, {1}))", (LIST, LIST), lambda a, b: list(zip(a, b, strict=False))),
    Operation("dict(zip({0}, {1}))", (LIST, LIST), lambda a, b: dict(zip(a, b, strict=False))),
    Operation("{0}.get({1})", (DICT, ANY), lambda a, b: a.get(b)),
    Operation("{1} in {0}", (DICT, ANY), lambda a, b: b in a, atom=False),
    Operation("list(range({0}, {1}))", (NUMBER, NUMBER), _range),
)
TERNARY = (
    Operation("{0}.replace({1}, {2})", (TEXT, TEXT, TEXT), _replace),
    Operation("{0}.get({1}, {2})", (DICT, ANY, ANY), lambda a, b, c: a.get(b, c)),
    Operation("{0}[{1}:{2}]", (LIST, NUMBER, NUMBER), lambda a, b, c: a[b:c]),
)
OPERATIONS = (*UNARY, *BINARY, *TERNARY)


def names_needed(text: str) -> Iterable[str]:
    """Return the import lines that an expression needs."""
    return ["from collections import Counter"] if "Counter(" in text else []
