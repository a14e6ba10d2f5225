"""mining: all patterns of one verified repair, or of files that were made anew."""

import ast
from collections.abc import Mapping, Sequence

from repairlab.documents import EditPattern, FunctionPattern, Pattern, PatternKind, PatternQuality, pattern_id
from repairlab.patterns.functions import Function, function_pattern
from repairlab.patterns.generalise import edit_patterns
from repairlab.patterns.templates import UNPARSABLE, same


def mined(
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    origin: str,
    provenance: Sequence[str] = (),
    quality: PatternQuality | None = None,
) -> list[Pattern]:
    """Return the patterns, each once, of what turned the texts `before` into `after` (by path).

    A file that is only in `after` is new: each of its functions is one.
    """
    found: dict[str, Pattern] = {}
    for path, text in sorted(after.items()):
        old = before.get(path)
        if old == text:
            continue
        functions = (function_pattern(text, name) for name in changed(old or "", text))
        contents: list[EditPattern | FunctionPattern] = [
            *(edit_patterns(old, text) if old is not None else ()),
            *filter(None, functions),
        ]
        for content in contents:
            kind = PatternKind.EDIT if isinstance(content, EditPattern) else PatternKind.FUNCTION
            name = pattern_id(content)
            found[name] = Pattern(
                id=name,
                origin=origin,
                kind=kind,
                quality=quality or PatternQuality(wins=1),
                provenance=list(provenance),
                **{kind.value: content},  # type: ignore[arg-type] # the field is named as the kind
            )
    return list(found.values())


def changed(before: str, after: str) -> list[str]:
    """Return the functions (`name` or `Class.method`) of a file that another version of it has otherwise."""
    try:
        old, new = _functions(before), _functions(after)
        return [name for name, node in new.items() if not same(node, old.get(name))]
    except UNPARSABLE:
        return []


def _functions(text: str) -> dict[str, Function]:
    tree = ast.parse(text)
    found: dict[str, Function] = {node.name: node for node in tree.body if isinstance(node, Function)}
    for owner in tree.body:
        if isinstance(owner, ast.ClassDef):
            found |= {f"{owner.name}.{node.name}": node for node in owner.body if isinstance(node, Function)}
    return found
