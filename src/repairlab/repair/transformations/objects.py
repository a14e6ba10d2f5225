"""objects: what belongs to `self` and lacks it, and the other way round.

(TSSB-3M's "add attribute access" and "change identifier used".)
"""

import ast
from collections.abc import Iterator

from repairlab.repair.transformations.gaps import gaps
from repairlab.repair.transformations.site import Draft, Site


def own(site: Site) -> Iterator[Draft]:
    """`self.x` for `x`, where it is called or assigned; `x` for `self.x`."""
    node = site.node
    if "self" not in site.scope.parameters[:1]:
        return
    known = site.project.attributes
    if isinstance(node, ast.Name) and node.id not in ("self", "super"):
        called = isinstance(site.parent, ast.Call) and site.parent.func is node
        start, end = site.source.span(node)
        if isinstance(node.ctx, ast.Store) and isinstance(
            site.parent, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Tuple
        ):
            prior = 0.5 if node.id in known or _unread(site, node.id) else 0.1
            yield from site.span_draft(start, end, f"self.{node.id}", prior, "own attribute")
        elif called and (node.id in known or node.id in _methods(site)):
            yield from site.span_draft(start, end, f"self.{node.id}", 0.6, "own method")
    elif isinstance(node, ast.Attribute) and site.text(node.value) == "self" and node.attr in site.scope.locals:
        start, end = site.source.span(node)
        yield from site.span_draft(start, end, node.attr, 0.25, "local name")


def _unread(site: Site, name: str) -> bool:
    """True for a local name that nothing reads: it was meant to be an attribute."""
    loads = [n for n in ast.walk(site.scope.owner) if isinstance(n, ast.Name) and n.id == name]
    return all(isinstance(n.ctx, ast.Store) for n in loads) and name not in site.scope.parameters


def _methods(site: Site) -> set[str]:
    owner = gaps(site).owner_class
    return {n.name for n in owner.body if isinstance(n, ast.FunctionDef)} if owner is not None else set()
