"""adapter: functions whose signature is not what they are called with.

Python says so before the function is entered, in the words of a TypeError: an unexpected keyword, a missing argument,
too many of them. The message names the function; what follows are the changes of its signature under which the call
would be taken: a parameter renamed, added, given a default, dropped, made positional or keyword. Of the suspicious
functions, parameters are exchanged too, since no message tells of a wrong order.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from repairlab.documents import Strategy
from repairlab.patterns.functions import Function, globals_of, tokens_of
from repairlab.patterns.templates import UNPARSABLE
from repairlab.repair.candidates import Change
from repairlab.repair.patterns.library import is_method
from repairlab.repair.transformations import Scope
from repairlab.trial.source import Edit, Source, overlapping
from repairlab.trial.testrun import Line, TestRun

FAMILY = "signature"
MAX_MESSAGES, MAX_FUNCTIONS, SWAPPED = 8, 5, 3
_CALLED = r"^TypeError: (?:[\w.<>]*\.)?(?P<name>\w+)\(\) "
_ERRORS = {
    "unexpected": re.compile(_CALLED + r"got an unexpected keyword argument '(?P<what>\w+)'"),
    "missing": re.compile(_CALLED + r"missing \d+ required (?:positional|keyword-only) arguments?: (?P<what>.*)"),
    "many": re.compile(_CALLED + r"takes (?:from \d+ to )?(?P<most>\d+) positional arguments? but (?P<given>\d+) "),
    "positional": re.compile(_CALLED + r"got some positional-only arguments passed as keyword arguments: (?P<what>.*)"),
}
_DEFAULTS = {
    "int": ("0", "1"),
    "float": ("0.0", "1.0"),
    "str": ("''", "' '"),
    "bool": ("False", "True"),
    "list": ("()", "None"),
    "tuple": ("()",),
    "dict": ("None",),
    "": ("None", "0", "1", "''", "False", "True", "()"),
}

Draft = tuple[float, str, list[tuple[int, int, str]]]


@dataclass(frozen=True)
class Refused:
    """A call that Python refused: the function's name, why, and the words or numbers of the message."""

    name: str
    why: str
    words: tuple[str, ...]
    extra: int = 0


def refused(message: str) -> Refused | None:
    """Return what a test's message says of a refused call, or None."""
    for why, form in _ERRORS.items():
        if found := form.match(message):
            parts = found.groupdict()
            extra = int(parts["given"]) - int(parts["most"]) if "given" in parts else 0
            return Refused(parts["name"], why, tuple(re.findall(r"\w+", parts.get("what") or ""))[:9], min(extra, 9))
    return None


def functions_of(sources: Mapping[str, Source], call: Refused) -> Iterator[tuple[Source, Function]]:
    """Yield the functions that a refused call may have meant."""
    for path in sorted(sources):
        try:
            found = [node for node in sources[path].definitions() if node.name == call.name]
        except UNPARSABLE:
            continue
        yield from ((sources[path], node) for node in found[:MAX_FUNCTIONS])


def blamed(sources: Mapping[str, Source], message: str) -> dict[Line, int]:
    """Return the lines of the function that a test's message says was not entered: no trace has them."""
    call = refused(message)
    found = functions_of(sources, call) if call else ()
    return {(source.path, line): 1 for source, node in found for line in range(node.lineno, (node.end_lineno or 1) + 1)}


def adapted(sources: Mapping[str, Source], failing: Iterable[TestRun], suspicion: Mapping[Line, float]) -> list[Change]:
    """Return the changed signatures, the likeliest first."""
    calls = list(dict.fromkeys(call for test in failing if (call := refused(test.message))))[:MAX_MESSAGES]
    found: dict[tuple[Edit, ...], Change] = {}
    for call in calls:
        for source, function in functions_of(sources, call):
            for change in _changes(source, function, _Signature(source, function).taking(call), needed=True):
                found.setdefault(change.key, change)
    for source, function in _suspects(sources, suspicion):
        for change in _changes(source, function, _Signature(source, function).exchanged()):
            found.setdefault(change.key, change)
    return sorted(found.values(), key=lambda change: (-change.score, change.line, change.key))


def _changes(source: Source, function: Function, drafts: Iterable[Draft], *, needed: bool = False) -> Iterator[Change]:
    for prior, note, spans in drafts:
        edits = tuple(Edit(source.path, *span) for span in spans)
        if edits and not overlapping(edits):
            line = source.path, function.lineno
            told = f"{function.name}: {note}"
            yield Change(edits, line, FAMILY, told, prior, Strategy.SIGNATURE_ADAPTER, needed=needed)


def _suspects(sources: Mapping[str, Source], suspicion: Mapping[Line, float]) -> Iterator[tuple[Source, Function]]:
    ranked = []
    for path in sorted({path for path, _ in suspicion} & set(sources)):
        try:
            functions = list(sources[path].definitions())
        except UNPARSABLE:
            continue
        for node in functions:
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            ranked.append((-max(suspicion.get((path, line), 0.0) for line in lines), path, node.lineno, node))
    for blame, path, _, node in sorted(ranked, key=lambda item: item[:3])[:SWAPPED]:
        if blame:
            yield sources[path], node


class _Signature:
    """A function's parameters and what may become of them."""

    def __init__(self, source: Source, function: Function) -> None:
        self.source = source
        self.function = function
        args = function.args
        self.named = [*args.posonlyargs, *args.args]
        self.own = self.named[is_method(function) :]

    def taking(self, call: Refused) -> Iterator[Draft]:
        """Yield what makes the call a good one."""
        yield from {
            "unexpected": self._keyword,
            "missing": self._missing,
            "many": self._many,
            "positional": self._unmarked,
        }[call.why](call)

    def _keyword(self, call: Refused) -> Iterator[Draft]:
        (word,) = call.words[:1]
        used = word in {node.id for node in ast.walk(self.function) if isinstance(node, ast.Name)}
        for rank, parameter in enumerate(sorted(self._others(), key=lambda arg: -_likeness(arg.arg, word))):
            prior = (0.6 + _likeness(parameter.arg, word) / 3) / (1 + rank / 2)
            yield prior, f"{parameter.arg} is called {word}", self._renamed(parameter, word)
        yield 0.9 if used else 0.4, f"takes {word}", self._added([f"{word}=None"])

    def _missing(self, call: Refused) -> Iterator[Draft]:
        by_name = {arg.arg: arg for arg in self._others()}
        wanted = [by_name[word] for word in call.words if word in by_name]
        if not wanted:
            return
        kind = ast.unparse(wanted[0].annotation) if wanted[0].annotation else ""
        for rank, text in enumerate(_DEFAULTS.get(kind, _DEFAULTS[""])):
            yield 0.6 / (1 + rank / 3), f"{wanted[0].arg} is {text} by default", self._defaulted(wanted, text)
        for parameter in wanted:
            used = any(isinstance(n, ast.Name) and n.id == parameter.arg for n in ast.walk(self.function))
            yield 0.2 if used else 0.7, f"takes no {parameter.arg}", self._dropped(parameter)

    def _many(self, call: Refused) -> Iterator[Draft]:
        inside = isinstance(self.source.parents.get(self.function), ast.ClassDef)
        if inside and not is_method(self.function):
            yield 0.9, "takes its object", self._first("self")
        if self.function.args.kwonlyargs:
            yield from self._unmarked(call)
        unbound = self._unbound()
        if len(unbound) >= call.extra:
            texts = [f"{name}=None" if self.function.args.defaults else name for name in unbound[: call.extra]]
            yield 0.8, f"takes {', '.join(texts)}", self._added(texts)

    def _unmarked(self, _call: Refused) -> Iterator[Draft]:
        """Yield the signature without its `*` or `/`."""
        head = self._head()
        for mark in re.finditer(r"(?<=[(,])\s*[*/]\s*,|,\s*/(?=\s*\))", self.source.text[head[0] : head[1]]):
            start, end = head[0] + mark.start(), head[0] + mark.end()
            yield 0.7, "takes arguments either way", [(start, end, "")]

    def exchanged(self) -> Iterator[Draft]:
        """Yield the signature with two parameters in each other's place."""
        plain = [arg for arg in self.own if arg.annotation is None][: 6 - len(self.function.args.defaults)]
        for one, two in combinations(plain, 2):
            first, second = self.source.span(one), self.source.span(two)
            yield 0.15, f"{one.arg} and {two.arg} exchanged", [(*first, two.arg), (*second, one.arg)]

    def _others(self) -> list[ast.arg]:
        return [*self.own, *self.function.args.kwonlyargs]

    def _renamed(self, parameter: ast.arg, word: str) -> list[tuple[int, int, str]]:
        start, _ = self.source.span(parameter)
        spans = [(start, start + len(parameter.arg), word)]
        uses = [n for n in ast.walk(self.function) if isinstance(n, ast.Name) and n.id == parameter.arg]
        return [*spans, *((*self.source.span(node), word) for node in uses)]

    def _head(self) -> tuple[int, int]:
        """Return the span from the parenthesis that opens the parameters to the body, or the annotation, after it."""
        start, _ = self.source.span(self.function)
        opened = self.source.text.index("(", start)
        body = self.source.span(self.function.body[0])[0]
        return opened, min([body, *([self.source.span(self.function.returns)[0]] if self.function.returns else [])])

    def _added(self, texts: Sequence[str]) -> list[tuple[int, int, str]]:
        if not self.named:
            at = self._head()[0] + 1
            empty = self.source.text[at : self._head()[1]].lstrip().startswith(")")
            return [(at, at, ", ".join(texts) + ("" if empty else ", "))]
        last = self.function.args.defaults[-1] if self.function.args.defaults else self.named[-1]
        _, end = self.source.span(last)
        return [(end, end, "".join(f", {text}" for text in texts))]

    def _first(self, name: str) -> list[tuple[int, int, str]]:
        at = self._head()[0] + 1
        rest = self.source.text[at : self._head()[1]].lstrip()
        return [(at, at, name if rest.startswith(")") else f"{name}, ")]

    def _defaulted(self, wanted: Sequence[ast.arg], text: str) -> list[tuple[int, int, str]]:
        args = self.function.args
        keyword = [
            arg for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True) if arg in wanted and not value
        ]
        without = self.named[: len(self.named) - len(args.defaults)]
        first = min((without.index(arg) for arg in wanted if arg in without), default=len(without))
        spans = []
        for arg in [*without[first:], *keyword]:
            _, end = self.source.span(arg)
            spans.append((end, end, f" = {text}" if arg.annotation else f"={text}"))
        return spans

    def _dropped(self, parameter: ast.arg) -> list[tuple[int, int, str]]:
        start, end = self.source.span(parameter)
        text = self.source.text
        if after := re.compile(r"\s*,\s*").match(text, end):
            return [(start, after.end(), "")]
        before = len(text[:start].rstrip().removesuffix(",").rstrip()) if text[:start].rstrip().endswith(",") else start
        return [(before, end, "")]

    def _unbound(self) -> list[str]:
        """Return the names that the function uses and nobody binds."""
        first = self.function.lineno
        text = "\n".join(self.source.text.split("\n")[first - 1 : self.function.end_lineno])
        try:
            used = globals_of(textwrap.dedent(text))
        except UNPARSABLE:
            return []
        known = {*Scope(self.source, None).module_names}
        return [name for name in used if name not in known]


def _likeness(one: str, two: str) -> float:
    mine, other = tokens_of(one), tokens_of(two)
    shared = len(mine & other) / max(1, len(mine | other))
    return max(shared, 0.5 * (one.startswith(two) or two.startswith(one) or one[:1] == two[:1]))
