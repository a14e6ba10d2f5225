"""strings: another text for a literal, from its own letters, from the project, its tests and docstrings.

(PySStuBs "change string literal", excluded from TSSB-3M's patterns for being too common; a third of the changes of a
single token.) A misspelt literal is near the right one, so literals and words of the project count by likeness; a set
of characters lacks one of a known alphabet; a wrong separator is another short string.
"""

import ast
import difflib
from collections import Counter
from collections.abc import Iterator

from repairlab.repair.transformations.site import Draft, Site

ALPHABETS = ("aeiou", "aeiouAEIOU", "0123456789", "0123456789abcdef", "0123456789ABCDEF", "abcdefghijklmnopqrstuvwxyz",
             "()[]{}", "+-*/", "<>()[]{}", ".,;:!?", " \t\n", ".!?", "ATGC", "MDCLXVI")  # fmt: skip
ALIKE = 0.7
LONGEST = 80


def string(site: Site) -> Iterator[Draft]:
    """Another string: blank or empty, another case, or one that the function, the project or a test mentions."""
    node = site.node
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or isinstance(site.parent, ast.Expr):
        return
    if isinstance(site.parent, ast.JoinedStr) or len(node.value) > LONGEST:
        return
    value = node.value
    seen = {value}
    for others in (_varied(value), _spelt(site, value), _lettered(site, value)):
        for other, prior in others.items():
            if other not in seen:
                seen.add(other)
                yield from site.put(node, repr(other), prior, "string")
    own = {ast.literal_eval(text): text for text in site.scope.texts}
    for pool, prior in ((own, 0.35), (dict(zip(site.project.short_strings, site.project.strings, strict=True)), 0.2)):
        for rank, other in enumerate([other for other in pool if other not in seen][: 8 * site.width]):
            seen.add(other)
            yield from site.put(node, pool[other], prior / (1 + rank / 4), "string from the project")


def _varied(value: str) -> dict[str, float]:
    """Return what small changes make of a text."""
    near = {"": 0.4, " ": 0.4, value.lower(): 0.3, value.upper(): 0.3, value.strip(): 0.3, value + " ": 0.15}
    near |= {" " + value: 0.15, value[1:]: 0.2, value[:-1]: 0.2, value.capitalize(): 0.2, value[::-1]: 0.1}
    near |= {", ": 0.1, ",": 0.15, "\n": 0.15, value.title(): 0.15, value.swapcase(): 0.15}
    words = value.split(" ")
    if 2 < len(words) <= 12:
        near |= {" ".join(words[:at] + words[at + 1 :]): 0.1 for at in range(len(words))}
    return near


def _spelt(site: Site, value: str) -> dict[str, float]:
    """Return the strings and words of the project that are nearly this one, by likeness."""
    if len(value) < 3:
        return {}
    match = difflib.SequenceMatcher(b=value)
    found: dict[str, float] = {}
    for other in (*site.project.short_strings, *site.project.words):
        if abs(len(other) - len(value)) <= 2 + len(value) // 4 and other != value:
            match.set_seq1(other)
            if match.real_quick_ratio() > ALIKE and match.quick_ratio() > ALIKE and match.ratio() > ALIKE:
                found.setdefault(other, 0.4 * match.ratio() ** 2)
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return dict(best[: 4 * site.width])


def _lettered(site: Site, value: str) -> dict[str, float]:
    """Return the text without one of its letters, with one that it lacks, or another letter for one."""
    near: dict[str, float] = {}
    if 2 < len(value) <= 16:
        near |= {value[:at] + value[at + 1 :]: 0.12 for at in range(1, len(value) - 1)}
        near |= {value.replace(letter, "").replace(letter.upper(), ""): 0.12 for letter in sorted(set(value.lower()))}
    for alphabet in ALPHABETS:
        missing = [letter for letter in alphabet if letter not in value]
        if len(value) > 1 and 1 <= len(missing) <= 2 and set(value) <= set(alphabet):
            near.setdefault("".join(letter for letter in alphabet if letter in value or letter in missing), 0.3)
            near.setdefault(value + "".join(missing), 0.2)
    if len(value) == 1:
        letters = Counter(letter for text in site.project.short_strings for letter in text)
        alike = [letter for letter in letters if letter.isalnum() == value.isalnum()]
        ranked = sorted(alike, key=lambda letter: (-letters[letter], letter))[: 12 * site.width]
        near |= {letter: 0.2 / (1 + rank / 6) for rank, letter in enumerate(ranked) if letter not in near}
    return near


def letters(site: Site) -> Iterator[Draft]:
    """All short strings of one statement put into another case."""
    node = site.node
    if not isinstance(node, ast.stmt) or hasattr(node, "body") or isinstance(node, ast.Expr):
        return
    constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
    inside = [(n, n.value) for n in constants if isinstance(n.value, str) and n.value.isalpha()]
    if 2 <= len(inside) <= 6 and not any(isinstance(n, ast.JoinedStr) for n in ast.walk(node)):
        for change in (str.capitalize, str.upper, str.lower):
            edits = [(*site.source.span(n), repr(change(text))) for n, text in inside if change(text) != text]
            if len(edits) > 1:
                yield Draft(0.2, tuple(edits), "case of strings")


def formatted(site: Site) -> Iterator[Draft]:
    """A literal piece of an f-string changed; what it formats exchanged."""
    node = site.node
    if not isinstance(node, ast.JoinedStr):
        return
    start, end = site.source.span(node)
    text = site.source.text[start:end]
    for piece in node.values:
        value = piece.value if isinstance(piece, ast.Constant) else None
        if not isinstance(value, str) or text.count(value) != 1 or len(value) > LONGEST or set(value) & set("{}\\'\""):
            continue  # 3.11 gives the pieces no places of their own, so only what stands there once is found
        at = start + text.index(value)
        for other, prior in {**_varied(value), **_spelt(site, value), **_lettered(site, value)}.items():
            if not set(other) & set("{}\\'\"\n\r\t"):
                yield from site.span_draft(at, at + len(value), other, prior * 0.6, "string")


def converted(site: Site) -> Iterator[Draft]:
    """A digit for its text, a text for its number (TSSB-3M "change constant type")."""
    node = site.node
    if not isinstance(node, ast.Constant) or isinstance(site.parent, ast.Expr | ast.JoinedStr):
        return
    value = node.value
    if isinstance(value, str) and 0 < len(value) <= 4 and value.isascii() and value.isdigit():
        yield from site.put(node, str(int(value)), 0.15, "constant type")
    elif type(value) is int and 0 <= value < 10 and site.type_of(site.parent or node) in ("", "bool", "str"):
        yield from site.put(node, repr(str(value)), 0.06, "constant type")


def enlisted(site: Site) -> Iterator[Draft]:
    """An element added to a display: a name at hand or a literal like those it holds (TSSB-3M: 57,000 fixes)."""
    node = site.node
    if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not isinstance(
        getattr(node, "ctx", ast.Load()), ast.Load
    ):
        return
    if not 1 <= len(node.elts) <= 30 or isinstance(site.parent, ast.Subscript):
        return
    own = {site.text(element) for element in node.elts}
    end = site.source.span(node.elts[-1])[1]
    if len(node.elts) == 1 and isinstance(node, ast.Tuple):
        return
    for rank, text in enumerate([text for text in _alike(site, node.elts) if text not in own][: 6 * site.width]):
        yield Draft(0.15 / (1 + rank / 3), ((end, end, f", {text}"),), "element added")


def _alike(site: Site, elements: list[ast.expr]) -> list[str]:
    """Return what could stand among some elements."""
    kinds = {site.type_of(element) for element in elements}
    pools = {"str": [*site.scope.texts, *site.project.strings], "int": [*site.scope.numbers, *site.project.numbers]}
    literal = all(isinstance(element, ast.Constant) for element in elements)
    if literal and len(kinds) == 1:
        (kind,) = kinds
        found = pools.get(kind, [])
        if kind == "str":
            long = max(len(element.value) for element in elements if isinstance(element, ast.Constant))  # type: ignore[arg-type]
            found = [text for text in found if 0 < len(ast.literal_eval(text)) <= long + 4]
        return found
    line = elements[0].lineno
    return [name for name in site.scope.near(line) if site.kind(name) in ("", *kinds)]
