"""wishes: a spec as the function that it asks for.

Examples come in the spellings that specs have had: `input` may be one value, a list of arguments or an object of them
by name. Values are JSON; a parameter whose type says tuple or set gets one.
"""

import ast
import keyword
import re
import sys
from dataclasses import dataclass
from typing import Any

from repairlab.documents.specs import Spec
from repairlab.errors import BadInput
from repairlab.trial.source import UNPARSABLE

LISTS = ("list", "tuple", "set", "frozenset", "sequence", "iterable", "any")
LIST_LIKE = {"tuple": tuple, "set": set, "frozenset": frozenset}


@dataclass(frozen=True)
class Wish:
    """A function to be made: `examples` are (arguments in order, result)."""

    name: str
    parameters: dict[str, str]
    returns: str
    examples: list[tuple[tuple[Any, ...], Any]]
    spec: Spec

    @property
    def header(self) -> str:
        """The line that defines it."""
        parameters = ", ".join(f"{name}: {kind}" for name, kind in self.parameters.items())
        return f"def {self.name}({parameters}) -> {self.returns}:"


def wish(spec: Spec) -> Wish:
    """Return what a spec asks for; BadInput naming the field that does not say it."""
    name, parameters, returns = _signature(spec)
    boxed = _boxed(parameters, [each.input for each in spec.examples])
    examples = [
        (_arguments(number, each.input, parameters, boxed), _as(returns, each.output))
        for number, each in enumerate(spec.examples)
    ]
    if not examples:
        raise BadInput("there is none", field="examples", fix="give at least one: input and output")
    for text in spec.properties:
        _expression(text, "properties")
    _program(spec.benchmark or "")
    return Wish(name, parameters, returns, examples, spec)


def _signature(spec: Spec) -> tuple[str, dict[str, str], str]:
    """Return name, parameter → type, type of the result."""
    if spec.signature is None and spec.io is None:
        raise BadInput("neither is there", field="signature", fix="give a signature, or io with inputs and output")
    if spec.signature is None:
        assert spec.io is not None  # one of them is there
        parameters = {_name(name, "io.inputs"): _type(kind) for name, kind in spec.io.inputs.items()}
        return _name(re.sub(r"\W", "_", spec.id), "id"), parameters, _type(spec.io.output)
    text = spec.signature.strip().removesuffix(":")
    try:
        return _declared(text if text.startswith("def ") else f"def {text}")
    except UNPARSABLE:  # nested too deep to be written again, too
        raise BadInput("is no Python signature", field="signature", fix="write name(a: int, b: str) -> list") from None


def _declared(text: str) -> tuple[str, dict[str, str], str]:
    (node,) = ast.parse(f"{text}: ...").body
    if not isinstance(node, ast.FunctionDef) or node.args.vararg or node.args.kwarg:
        raise BadInput("is no plain function", field="signature", fix="name every parameter")
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    parameters = {arg.arg: ast.unparse(arg.annotation) if arg.annotation else "Any" for arg in given}
    if not parameters:
        raise BadInput("has no parameter", field="signature", fix="a function of nothing is a constant")
    return _name(node.name, "signature"), parameters, ast.unparse(node.returns) if node.returns else "Any"


def _name(text: str, field: str) -> str:
    if text in sys.stdlib_module_names or text == "pytest":
        raise BadInput(f"{text!r} is a module's name", field=field, fix="choose a name that hides none")
    if not text.isidentifier() or keyword.iskeyword(text):
        raise BadInput(f"{text!r} is no name in Python", field=field, fix="use letters, digits and _")
    return text


def _type(text: str) -> str:
    _expression(text, "io")
    return text


def _expression(text: str, field: str) -> None:
    try:
        ast.parse(text, mode="eval")
    except UNPARSABLE:
        raise BadInput(f"{text[:60]!r} is no Python expression", field=field, fix="write one expression") from None


def _program(text: str) -> None:
    """Check a text that shall stand below an import, so that none from `__future__` may be its first."""
    try:
        compile(f"pass\n{text}", "benchmark", "exec", dont_inherit=True)
    except UNPARSABLE:
        fix = "write a program that calls the function and prints what comes out"
        raise BadInput("is no Python", field="benchmark", fix=fix) from None


def _arguments(number: int, given: Any, parameters: dict[str, str], boxed: bool) -> tuple[Any, ...]:
    """Return one example's arguments in order."""
    if isinstance(given, dict) and set(given) == set(parameters):
        values = [given[name] for name in parameters]
    elif isinstance(given, list) and len(given) == len(parameters) and boxed:
        values = list(given)
    elif len(parameters) == 1:
        values = [given]
    else:
        fix = f"give the arguments {', '.join(parameters)} by name, or as a list in that order"
        raise BadInput("does not fit the parameters", field=f"examples[{number}].input", fix=fix)
    return tuple(_as(kind, value) for kind, value in zip(parameters.values(), values, strict=True))


def _boxed(parameters: dict[str, str], inputs: list[Any]) -> bool:
    """Whether a list is the list of the arguments: of more than one, or of one that is no list itself.

    Of one parameter that is a list, it is so where each example's list holds one list, deeper than the type says.
    """
    kind = next(iter(parameters.values())).lower()
    if len(parameters) > 1 or not kind.startswith(LISTS):
        return True
    depth = len(re.findall("|".join(LISTS[:-1]), kind))  # the last is any: of any depth
    return depth > 0 and "[" in kind and all(_depth(given) > depth and len(given) == 1 for given in inputs)


def _depth(value: Any) -> int:
    """Return how deep lists stand within each other, counted along the deepest way."""
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _as(kind: str, value: Any) -> Any:
    """Return a JSON value as the type says, where JSON has none of that type."""
    made = LIST_LIKE.get(kind.split("[", maxsplit=1)[0].lower())
    if made is not None and isinstance(value, list):
        try:
            return made(value)
        except TypeError:
            raise BadInput("has elements that no set takes", field="examples", fix="give flat values") from None
    return float(value) if kind == "float" and type(value) is int else value
