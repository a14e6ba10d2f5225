"""swap: apply a candidate to live functions by replacing their code objects.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).

A function or method is compiled alone, below the bare headers of the classes that it stands in. A candidate is
swappable when the code that surrounds its functions (module level, class bodies, decorators, default values) is
unchanged and none of the changed functions ran while the tests were being collected; everything else raises
`NeedsFresh`. Code objects are compared without their line numbers, by digests: drafts that compile to the same code are
one candidate, and one that compiles to the code that is there changes nothing.
"""

import ast
import hashlib
import marshal
import re
import types

OPTIMIZED = 0x1  # CO_OPTIMIZED: set for functions, not for module and class bodies
LINES = "co_linetable" if hasattr(types.CodeType, "co_linetable") else "co_lnotab"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class NeedsFresh(Exception):
    """The candidate can be judged only by a fresh import."""


class Unit:
    """A piece of a file that is compiled alone: `text` on the line `first`, below `header`, of `lines` lines."""

    def __init__(self, begin, end, first, header):
        self.begin, self.end, self.first, self.header = begin, end, first, header
        self.shift = first - 1 - header.count("\n")
        self.old = None


class LiveFile:
    """One editable file as it is loaded: its text, its definitions, and the functions made from it."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.functions = {}  # (first line, digest) → live functions
        self.digests = {}  # old code object → digest
        self.units = []
        self.ran = set()  # (name, first line) of what ran during collection
        self.tree = None

    def _index(self):
        starts = line_starts(self.text)
        tree = self.tree = ast.parse(self.text)
        self.flags = future_flags(tree)
        self.imports = imports(tree)
        self._units(tree.body, starts, "")
        self.units.sort(key=lambda unit: unit.end - unit.begin)  # the smallest that holds an edit comes first

    def _units(self, body, starts, header):
        for node in body:
            if isinstance(node, DEFINITIONS):
                first = min([node.lineno] + [d.lineno for d in node.decorator_list])
                begin = starts[first - 1]
                end = starts[node.end_lineno] if node.end_lineno < len(starts) else len(self.text)
                line = self.text[begin : starts[first] if first < len(starts) else end]
                margin = line[: len(line) - len(line.lstrip(" \t"))]
                words = ("@",) if first < node.lineno else ("def", "async", "class")
                if bool(margin) != bool(header) or not line[len(margin) :].startswith(words):
                    continue  # something else stands before it
                self.units.append(Unit(begin, end, first, header))
                if isinstance(node, ast.ClassDef):
                    self._units(node.body, starts, header + "%sclass %s:\n" % (margin, node.name))

    def pairs(self, edits):
        """Return [(key of the live functions, new code, its digest)] for `edits`, (start, end, text) of the text."""
        if self.tree is None:
            self._index()
        found = []
        for unit, inside in self._by_unit(edits):
            text = self.text[unit.begin : unit.end]
            if unit.old is None:
                unit.old = self._compile(unit, text)
            changed = spliced(text, [(a - unit.begin, b - unit.begin, new) for a, b, new in inside])
            self._match(unit, unit.old, self._compile(unit, changed), found)
        return found

    def _by_unit(self, edits):
        groups = {}
        for edit in edits:
            for unit in self.units:
                if unit.begin <= edit[0] and edit[1] <= unit.end and edit[0] < unit.end:
                    groups.setdefault(id(unit), (unit, []))[1].append(edit)
                    break
            else:
                raise NeedsFresh
        return groups.values()

    def _compile(self, unit, text):
        return compile(unit.header + text + self.imports, self.path, "exec", self.flags, True)

    def _match(self, unit, old, new, found):
        """Collect into `found` the functions that differ between two module or class bodies."""
        if surroundings(old) != surroundings(new):
            raise NeedsFresh
        for before, after in zip(nested(old), nested(new)):
            if before.co_flags & OPTIMIZED:
                self._match_function(unit, before, after, found)
            else:
                self._match(unit, before, after, found)

    def _match_function(self, unit, old, new, found):
        if signature(old) != signature(new):
            raise NeedsFresh
        if old not in self.digests:
            self.digests[old] = digest(old)
        fresh = digest(new)
        if fresh == self.digests[old]:
            return
        line = old.co_firstlineno + unit.shift
        if (old.co_name, line) in self.ran:
            raise NeedsFresh
        found.append(((line, self.digests[old]), new, fresh))
        inner_old, inner_new = nested(old), nested(new)
        if [code.co_name for code in inner_old] == [code.co_name for code in inner_new]:
            places = [(code.co_firstlineno, digest(code)) for code in inner_old]
            for place, before, after in zip(places, inner_old, inner_new):
                if signature(before) == signature(after):
                    if places.count(place) > 1 and (place[0] + unit.shift, place[1]) in self.functions:
                        raise NeedsFresh  # two equal functions on one line: which of them is alive cannot be told
                    self._match_function(unit, before, after, found)


def digest(code):
    """What the code does, without where it stands."""
    return hashlib.sha1(marshal.dumps(placeless(code), 2)).digest()  # noqa: S324  nothing secret; marshal 2 has no references


def placeless(code):
    consts = tuple(placeless(const) if isinstance(const, types.CodeType) else const for const in code.co_consts)
    return code.replace(co_firstlineno=1, co_consts=consts, **{LINES: b""})


def future_flags(tree):
    import __future__

    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags


def imports(tree):
    """Return a line that imports, to be compiled and never run, every name that the module imports.

    `math.floor(x)` compiles to other code where the compiler knows that `math` is imported (seen in CPython 3.11.7),
    so a definition compiled without its imports would not be the code that is live.
    """
    names, stack = set(), list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            stack += [child for child in ast.walk(node) if isinstance(child, (ast.Import, ast.ImportFrom))]
    names.discard("*")
    return "\nimport " + ", ".join(sorted(names)) + "\n" if names else ""


def line_starts(text):
    """Offsets of the lines as Python counts them: ended by \\n, \\r\\n or \\r, and by nothing else."""
    return [0] + [found.end() for found in re.finditer(r"\r\n|\r|\n", text)]


def spliced(text, edits):
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def nested(code):
    return [const for const in code.co_consts if isinstance(const, types.CodeType)]


def surroundings(code):
    consts = [
        ("code", const.co_name) if isinstance(const, types.CodeType) else (type(const).__name__, repr(const))
        for const in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, consts


def signature(code):
    """What a live function keeps beside its code: defaults, by position, and those of keyword-only names, by name.

    What a parameter is called is the code's own: a call looks it up there.
    """
    kind = code.co_flags & ~0x50  # CO_NESTED and CO_NOFREE follow from the body
    only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return code.co_name, code.co_argcount, only, kind


def index_functions(files):
    """Fill `functions` of each LiveFile, from path, with the live functions made from it, by place."""
    import gc
    import os

    real = {}
    for candidate in gc.get_objects():
        if type(candidate) is types.FunctionType:
            code = candidate.__code__
            name = code.co_filename
            if name not in real:
                real[name] = os.path.realpath(name)
            live = files.get(real[name])
            if live is not None:
                if code not in live.digests:
                    live.digests[code] = digest(code)
                live.functions.setdefault((code.co_firstlineno, live.digests[code]), []).append(candidate)
