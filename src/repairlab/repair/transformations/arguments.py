"""arguments: an argument that a call lacks, from what its function takes, other calls give, and this function has.

(PAR "parameter adder", TBar FP10, PySStuBs "same function more args"; TSSB-3M counts 150,000 of them.) Of 2,468 last
arguments of calls in the standard library and sqlparse 47 % are names, 15 % plain values, 12 % keywords, 10 %
attributes, most of which the file holds elsewhere, too. Three signs say which: a parameter of the same name (Rice et
al., OOPSLA 2017), an equal place in another call of the function, and a local that nothing reads any more.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator

from repairlab.repair.transformations.callees import Callee, lacks, meant, name_of
from repairlab.repair.transformations.gaps import gaps
from repairlab.repair.transformations.site import Draft, Site
from repairlab.repair.transformations.usage import ordered, usage_of

NOTE = "argument added"
COMMON = 20  # attributes of a class
MOST = 14  # values for one place
LACKING, REFUSED = (
    3.0,
    1.5,
)  # times as likely where the call has too few; where a failing test died of a TypeError there
OPPOSITE = {"True": "False", "False": "True"}
USUAL = ("max", "min", "zip", "range", "print")  # take another argument as it comes
KINDS = ("int", "str", "list", "dict", "float", "tuple", "set", "bool")  # for isinstance
# (function or method, arguments that it was given) → what it may be given as well
OPTIONAL: dict[tuple[str, int], tuple[str, ...]] = {
    ("enumerate", 1): ("1", "start=1"), ("pop", 0): ("0", "-1"), ("round", 1): ("2", "1"),
    ("int", 1): ("2", "10", "16"),
    ("get", 1): ("0", "None", "[]", "''", "1", "{}"), ("pop", 1): ("None",), ("split", 0): ("' '", "','", "None"),
    ("split", 1): ("1",), ("rsplit", 1): ("1",), ("replace", 2): ("1",), ("sum", 1): ("[]", "1"),
    ("max", 1): ("default=0", "default=None"), ("min", 1): ("default=0", "default=None"), ("next", 1): ("None",),
    ("getattr", 2): ("None",), ("strip", 0): ("' '", "'0'", "'\n'"), ("find", 1): ("1",), ("index", 1): ("1",),
    ("zip", 2): ("strict=True",), ("dumps", 1): ("sort_keys=True", "indent=2"), ("splitlines", 0): ("keepends=True",),
    ("setdefault", 1): ("[]", "0", "{}"),
}  # fmt: skip


def added(site: Site) -> Iterator[Draft]:
    """An argument at the end of the positional ones, or by keyword."""
    node = site.node
    if not isinstance(node, ast.Call) or any(isinstance(arg, ast.GeneratorExp) for arg in node.args):
        return
    scale = _scale(site, node)
    values = {**_by_keyword(site, node), **_forwarded(site, node)}
    starred = any(isinstance(arg, ast.Starred) for arg in node.args)
    if not starred:
        values |= _by_place(site, node)
    first = min((site.source.span(word)[0] for word in node.keywords), default=None)
    best = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    for text, prior in best[: (MOST + 6) * site.width]:
        if first is None or "=" in text or text.startswith("**"):
            yield from put_last(site, node, text, prior * scale)
        else:
            yield Draft(prior * scale, ((first, first, f"{text}, "),), NOTE)


def put_last(site: Site, node: ast.Call, text: str, prior: float, note: str = NOTE) -> Iterator[Draft]:
    """Yield the draft that puts an argument behind all others, a comma before it where one is needed."""
    end = site.source.span(node)[1] - 1
    inside = site.source.text[:end].rstrip()
    comma = "" if inside.endswith(("(", ",")) else ", "
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp) and not inside.endswith("))"):
        start, stop = site.source.span(node.args[0])
        if site.source.text[start] != "(":
            return  # a bare generator must be the only argument
        end = stop
    yield Draft(prior, ((end, end, comma + text),), note)


def _scale(site: Site, node: ast.Call) -> float:
    refused = any(
        site.project.raised.get((site.source.path, line)) == "TypeError"
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    )
    return (LACKING if lacks(site, node, len(node.args)) else 1.0) * (REFUSED if refused else 1.0)


def _by_place(site: Site, node: ast.Call) -> dict[str, float]:
    """Return what the next place of a call may be given, by how likely it is."""
    given, found = [site.text(arg) for arg in node.args], dict[str, float]()
    callee, at = site.text(node.func), len(node.args)
    slots = [(those, those.named[at]) for those in meant(site, node) if at < len(those.named)]
    longer = Counter(args[at] for args in usage_of(site.source).arguments.get(callee, []) if len(args) > at)
    longer = Counter({text: count for text, count in longer.items() if _usable(site, text)})
    for rank, text in enumerate(ordered(longer)[: 4 * site.width]):
        found[text] = 0.4 / (1 + rank / 2)
    scale = 1.0 if slots or longer or lacks(site, node, at) or callee in USUAL else 0.3
    lost = gaps(site).unread
    for text, prior in _names(site, node, slots):
        found[text] = max(found.get(text, 0.0), prior * (1.0 if text in lost else scale))
    for rank, text in enumerate(_attributes(site)[: 4 * site.width]):
        found.setdefault(text, 0.15 * scale / (1 + rank / 3))
    for rank, text in enumerate(gaps(site).unread_attributes[: 3 * site.width]):
        found[text] = 0.4 / (1 + rank)
    for rank, text in enumerate(OPTIONAL.get((name_of(node.func), at), ()) if not node.keywords else ()):
        found.setdefault(text, 0.25 / (1 + rank / 4))
    for rank, text in enumerate(_constants(slots) if slots or longer or callee in USUAL else ()):
        found.setdefault(text, 0.12 / (1 + rank / 2))
    if callee in ("isinstance", "issubclass"):
        found = _kinds(site) | {text: prior * 0.3 for text, prior in found.items()}
    for text in given:
        if text in found:
            found[text] *= 0.3
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[: MOST * site.width])


def _usable(site: Site, text: str) -> bool:
    return gaps(site).fits(ast.parse(f"({text})", mode="eval"))


def _names(site: Site, node: ast.Call, slots: list[tuple[Callee, str]]) -> Iterator[tuple[str, float]]:
    """Yield local names, those first that are called like the parameter, that nothing reads, that are of its type."""
    near, lost = [name for name in site.scope.near(node.lineno) if name != "cls"], set(gaps(site).unread)
    wanted = {name for _, name in slots}
    partners = gaps(site).partners(arg.id for arg in node.args if isinstance(arg, ast.Name))
    kinds = {kind for callee, name in slots if (kind := callee.kind(name, site.project))}

    def weight(name: str) -> float:
        kind = site.kind(name)
        fits = 1.0 if not kinds or not kind or kind in kinds else 0.4
        own = 0.3 if name == "self" else 2.0 if name in partners else 1.0
        return fits * own * (3.0 if name in wanted else 1.0) * (3.0 if name in lost else 1.0)

    weights = {name: weight(name) / (1 + rank / 4) for rank, name in enumerate(near)}
    for rank, name in enumerate(sorted(weights, key=lambda name: (-weights[name], name))[: 8 * site.width]):
        yield name, min(0.9, 0.3 * weights[name]) / (1 + rank / 6)


def _attributes(site: Site) -> list[str]:
    """Return the attributes that the function and then its class read of names known here, and do not call."""
    known: list[str] | None = site.scope.__dict__.get("_read_attributes")
    if known is None:
        own = gaps(site)
        texts = [*ordered(Counter(_read(site, own.nodes))), *_of_class(site, own.owner_class)]
        known = site.scope.__dict__["_read_attributes"] = [
            text for text in dict.fromkeys(texts) if text.partition(".")[0] in own.bound
        ]
    return known


def _of_class(site: Site, owner: ast.ClassDef | None) -> list[str]:
    """Return the attributes that a class reads most, made once a class."""
    known: dict[ast.ClassDef | None, list[str]] = site.source.__dict__.setdefault("_read_by_classes", {None: []})
    if owner not in known and owner is not None:
        known[owner] = ordered(Counter(_read(site, ast.walk(owner))))[:COMMON]
    return known[owner]


def _read(site: Site, nodes: Iterable[ast.AST]) -> Iterator[str]:
    read = (n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load))
    return (site.text(n) for n in read if isinstance(n.value, ast.Name) and not _part(site, n))


def _part(site: Site, node: ast.Attribute) -> bool:
    """True for what is called, or part of a longer attribute."""
    parent = site.source.parents.get(node)
    return isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Call) and parent.func is node)


def _constants(slots: list[tuple[Callee, str]]) -> list[str]:
    """Return the plain values for a parameter: not its default; those of its type first."""
    defaults = [dict(callee.defaults).get(name, "") for callee, name in slots]
    turned = [OPPOSITE[text] for text in defaults if text in OPPOSITE]
    return list(dict.fromkeys([*turned, *("None", "True", "1", "0", "False")]))


def _kinds(site: Site) -> dict[str, float]:
    """Return what isinstance may be given: what others of the file are, then classes, then built-in types."""
    usage = usage_of(site.source).arguments
    told = Counter(args[1] for name in ("isinstance", "issubclass") for args in usage.get(name, []) if len(args) > 1)
    classes = [name for name in site.scope.module_names if name[:1].isupper() and not name.isupper()]
    names = [*(text for text in ordered(told) if _usable(site, text)), *KINDS[:3], *classes[:4], *KINDS[3:]]
    return {name: 0.35 / (1 + rank / 4) for rank, name in enumerate(dict.fromkeys(names))}


def _by_keyword(site: Site, node: ast.Call) -> dict[str, float]:
    """Return the keyword arguments that other calls give, and those whose parameter is called like a local."""
    own = {keyword.arg for keyword in node.keywords}
    usual = ordered(usage_of(site.source).keywords.get(site.text(node.func), Counter()))
    texts = [text for text in usual if text.partition("=")[0] not in own and _usable(site, text.partition("=")[2])]
    found = {text: 0.25 / (1 + rank / 2) for rank, text in enumerate(texts[: 4 * site.width])}
    for callee in meant(site, node):
        at = len(node.args) if node.keywords else len(node.args) + 1
        rest = [name for name in (*callee.named[at:], *callee.only) if name not in own]
        for rank, name in enumerate(rest[: 6 * site.width]):
            for text, prior in _passed(site, callee, name, rank):
                found[text] = max(prior, found.get(text, 0.0))
    for rank, name in enumerate(name for name in gaps(site).unread if name not in own and not meant(site, node)):
        found.setdefault(f"{name}={name}", 0.2 / (1 + rank))
    return found


def _passed(site: Site, callee: Callee, name: str, rank: int) -> Iterator[tuple[str, float]]:
    """Yield what one parameter may be given by its name: a local or an attribute called alike, not its default."""
    if name in site.scope.locals:
        yield f"{name}={name}", 0.9 if name in gaps(site).unread else 0.35
    elif (default := dict(callee.defaults).get(name)) in OPPOSITE:
        yield f"{name}={OPPOSITE[default]}", 0.12 / (1 + rank / 3)
    if f"self.{name}" in _attributes(site):
        yield f"{name}=self.{name}", 0.25


def _forwarded(site: Site, node: ast.Call) -> dict[str, float]:
    """Return `*args` and `**kwargs` where the function has them and the call does not pass them on."""
    function, found = site.scope.function, dict[str, float]()
    if function is None:
        return found
    read = gaps(site).read
    if (many := function.args.kwarg) is not None and all(keyword.arg is not None for keyword in node.keywords):
        found[f"**{many.arg}"] = 0.2 if read[many.arg] else 0.9
    starred = any(isinstance(arg, ast.Starred) for arg in node.args)
    if (rest := function.args.vararg) is not None and not starred and not node.keywords:
        found[f"*{rest.arg}"] = 0.2 if read[rest.arg] else 0.9
    return found
