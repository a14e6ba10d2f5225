"""transformations: what an edit may do, a family a file.

`FAMILIES` names every transformation with the literature's name for it in its module's docstring. Each takes a `Site`
and yields `Draft`s; none reads a file, runs anything or keeps state. A new family is a function and one row here.
"""

from collections.abc import Callable, Iterator

from repairlab.repair.transformations import (
    arguments,
    bindings,
    branching,
    calls,
    conditions,
    constants,
    contexts,
    copies,
    guards,
    imports,
    insertions,
    names,
    objects,
    operators,
    placement,
    statements,
    strings,
    terms,
    usage,
    wraps,
)
from repairlab.repair.transformations.site import Draft, Project, Scope, Site

__all__ = ["FAMILIES", "Draft", "Project", "Scope", "Site", "drafts"]

Transformation = Callable[[Site], Iterator[Draft]]

FAMILIES: dict[str, tuple[Transformation, ...]] = {
    "imports": (imports.undefined, imports.attribute),
    "operators": (
        operators.comparison,
        operators.chained,
        operators.absent,
        operators.boolean,
        operators.unary,
        operators.arithmetic,
    ),
    "constants": (
        constants.number,
        constants.flag,
        constants.flags,
        constants.elements,
        constants.off_by_one,
        constants.ranges,
        constants.slices,
    ),
    "strings": (strings.string, strings.letters, strings.formatted, strings.converted, strings.enlisted),
    "names": (
        names.variable,
        names.literal_by_variable,
        names.function,
        names.keyword,
        names.target,
        names.targets,
        names.exchanged,
    ),
    "arguments": (arguments.added,),
    "bindings": (bindings.bound, bindings.used),
    "contexts": (contexts.beside,),
    "calls": (
        calls.arguments,
        calls.receiver,
        calls.ordering,
        calls.subscripts,
        calls.exceptions,
        calls.suspended,
    ),
    "wraps": (
        wraps.wrap,
        wraps.unwrap,
        wraps.sorts,
        wraps.both_sides,
        wraps.clamp,
        wraps.display,
        wraps.attribute,
        wraps.element,
        wraps.division,
    ),
    "copies": (copies.copied, copies.repeated, copies.initial, copies.ordered),
    "conditions": (
        conditions.condition,
        conditions.junction,
        conditions.prefixed,
        conditions.comprehension,
        conditions.ternary,
        conditions.chain,
        conditions.compared,
    ),
    "statements": (
        statements.deletion,
        statements.branches,
        statements.motion,
        statements.control,
        statements.returned,
        statements.guards,
        statements.loop_guards,
        statements.assignment,
        statements.comprehended,
        statements.mutable_default,
    ),
    "branching": (
        branching.loosened,
        branching.otherwise,
        branching.stubs,
        branching.chained,
        branching.twins,
        branching.turned,
    ),
    "guards": (guards.before, guards.around),
    "insertions": (insertions.inserted, insertions.attributes, insertions.results, insertions.bare),
    "objects": (objects.own,),
    "placement": (placement.into_body, placement.in_front, placement.protected),
    "usage": (usage.applied, usage.literal, usage.member),
    "terms": (terms.added, terms.value, terms.borrowed),
}


def drafts(site: Site) -> Iterator[tuple[str, Draft]]:
    """Yield (family, draft) of every transformation for `site`; one that fails ends its own drafts alone."""
    for family, transformations in FAMILIES.items():
        for transformation in transformations:
            try:
                for draft in transformation(site):
                    yield family, draft
            except (SyntaxError, ValueError):  # what is nested too deep takes minutes a file where it is gone on with
                continue
