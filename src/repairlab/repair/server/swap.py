"""swap: apply a candidate to live functions by replacing their code objects.

One part of the program that `repairlab.repair.server` assembles (Python 3.8 or newer).

A file's top-level definitions are compiled alone, on the lines where they stand. A candidate is swappable when the
code that surrounds its functions (module level, class bodies, decorators, default values) is unchanged and none of the
changed functions ran while the tests were being collected; everything else raises `NeedsFresh`.
"""

import ast
import types

OPTIMIZED = 0x1  # CO_OPTIMIZED: set for functions, not for module and class bodies


class NeedsFresh(Exception):
    """The candidate can be judged only by a fresh import."""


class LiveFile:
    """One editable file as it is loaded: its text, its top-level definitions, and the functions made from it."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.functions = {}
        self.segments = []
        self.codes = {}
        self.ran = set()  # (name, first line) of what ran during collection
        self.tree = None

    def _index(self):
        starts = line_starts(self.text)
        tree = self.tree = ast.parse(self.text)
        self.flags = future_flags(tree)
        self.imports = imports(tree)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                first = min([node.lineno] + [d.lineno for d in node.decorator_list])
                if ast_column(node, first, self.text, starts) != 0:
                    continue
                begin = starts[first - 1]
                end = starts[node.end_lineno] if node.end_lineno < len(starts) else len(self.text)
                self.segments.append((begin, end, first))

    def pairs(self, edits):
        """Return [(old code, new code)] for `edits`, a list of (start, end, text) in the original text."""
        if self.tree is None:
            self._index()
        found = []
        for segment, inside in self._by_segment(edits).items():
            begin, end, first = segment
            if segment not in self.codes:
                self.codes[segment] = self._compile(self.text[begin:end], first)
            changed = spliced(self.text[begin:end], [(a - begin, b - begin, text) for a, b, text in inside])
            match(self.codes[segment], self._compile(changed, first), found)
        return found

    def _by_segment(self, edits):
        groups = {}
        for edit in edits:
            for segment in self.segments:
                if segment[0] <= edit[0] and edit[1] <= segment[1] and edit[0] < segment[1]:
                    groups.setdefault(segment, []).append(edit)
                    break
            else:
                raise NeedsFresh
        return groups

    def _compile(self, text, first):
        return compile("\n" * (first - 1) + text + self.imports, self.path, "exec", self.flags, True)

    def swap(self, old, new):
        """Give the functions that run `old` the code `new`; return how many there were."""
        if (old.co_name, old.co_firstlineno) in self.ran:
            raise NeedsFresh
        targets = self.functions.get(old, ())
        for function in targets:
            try:
                function.__code__ = new
            except ValueError:  # other free variables
                raise NeedsFresh from None
        return len(targets)


def ast_column(node, first, text, starts):
    """0 when nothing but a decorator or the definition itself begins on the line `first`."""
    begin = starts[first - 1]
    return len(text[begin : begin + 1].strip(" \t;")) == 0


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
    starts, at = [0], 0
    while True:
        ends = [end for end in (text.find("\n", at), text.find("\r", at)) if end >= 0]
        if not ends:
            return starts
        at = min(ends)
        at += 2 if text[at : at + 2] == "\r\n" else 1
        starts.append(at)


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


def match(old, new, found):
    """Collect into `found` the functions that differ between two module or class bodies."""
    if surroundings(old) != surroundings(new):
        raise NeedsFresh
    for before, after in zip(nested(old), nested(new)):
        if before.co_flags & OPTIMIZED:
            match_function(before, after, found)
        else:
            match(before, after, found)


def match_function(old, new, found):
    if signature(old) != signature(new):
        raise NeedsFresh
    if old == new:
        return
    found.append((old, new))
    inner_old, inner_new = nested(old), nested(new)
    if [code.co_name for code in inner_old] == [code.co_name for code in inner_new]:
        for before, after in zip(inner_old, inner_new):
            if before != after and signature(before) == signature(after):
                match_function(before, after, found)


def signature(code):
    kind = code.co_flags & ~0x50  # CO_NESTED and CO_NOFREE follow from the body
    count = code.co_argcount + code.co_kwonlyargcount + bool(kind & 4) + bool(kind & 8)
    return code.co_name, code.co_argcount, code.co_kwonlyargcount, code.co_varnames[:count], kind


def index_functions(files):
    """Fill `functions` of each LiveFile, from path, with every live function made from it."""
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
                live.functions.setdefault(code, []).append(candidate)
