"""infer: the built-in type that an expression has, as far as runs, annotations and its form tell.

`Known` answers for names: what locals (and `name[]`, the first element of a container; `name{}`, the first value of a
dictionary; `name.attribute`) were when the tests ran. Everything else follows from the form. '' is "not known", and
never a reason to leave an edit out; a known type is.
"""

import ast
from collections.abc import Callable

Known = Callable[[str], str]

NUMBERS = ("int", "float", "bool", "complex")
SEQUENCES = ("str", "list", "tuple", "bytes", "range")
SIZED = ("list", "str", "dict", "tuple", "set")
CONTAINERS = (*SIZED, "frozenset", "bytes", "range", "deque", "defaultdict", "Counter", "OrderedDict")
BUILT_IN = (*NUMBERS, *SEQUENCES, *SIZED, "frozenset", "function", "method", "module", "generator", "type")
_FORMS: dict[type[ast.AST], str] = {
    ast.List: "list", ast.ListComp: "list", ast.Dict: "dict", ast.DictComp: "dict", ast.Set: "set", ast.SetComp: "set",
    ast.Tuple: "tuple", ast.JoinedStr: "str", ast.GeneratorExp: "generator", ast.Lambda: "function",
}  # fmt: skip
_CALLS = {
    "len": "int", "ord": "int", "hash": "int", "id": "int", "sorted": "list", "range": "range", "repr": "str",
    "chr": "str", "bin": "str", "hex": "str", "oct": "str", "ascii": "str", "format": "str", "isinstance": "bool",
    "issubclass": "bool", "any": "bool", "all": "bool", "callable": "bool", "hasattr": "bool", "divmod": "tuple",
    "int": "int", "str": "str", "list": "list", "set": "set", "dict": "dict", "float": "float", "tuple": "tuple",
    "bool": "bool", "bytes": "bytes", "frozenset": "frozenset", "enumerate": "enumerate", "zip": "zip", "map": "map",
    "filter": "filter", "reversed": "reversed",
}  # fmt: skip
_METHODS = """
    str: lower upper strip lstrip rstrip title capitalize swapcase casefold replace join format zfill ljust rjust center
    list: split rsplit splitlines
    int: find rfind index rindex count bit_length
    bool: startswith endswith isalpha isdigit isalnum isupper islower isspace isnumeric issubset issuperset isdisjoint
    tuple: partition rpartition
    set: union intersection difference symmetric_difference
    bytes: encode
    NoneType: append extend insert sort reverse add discard update clear appendleft
"""
METHODS = {name: kind.strip(" :") for kind, _, names in (line.strip().partition(":") for line in _METHODS.splitlines())
           for name in names.split()}  # fmt: skip
_TEXTUAL = ("str", "bytes", "list", "tuple")


def type_of(node: ast.AST, known: Known) -> str:
    """Return the name of the type of `node`, or ''."""
    if isinstance(node, ast.Constant):
        return type(node.value).__name__
    if isinstance(node, ast.Name):
        return known(node.id)
    if isinstance(node, ast.Attribute):
        return known(f"{node.value.id}.{node.attr}") if isinstance(node.value, ast.Name) else ""
    if isinstance(node, ast.Compare):
        return "bool"
    if isinstance(node, ast.UnaryOp):
        return "bool" if isinstance(node.op, ast.Not) else type_of(node.operand, known)
    if isinstance(node, ast.BinOp):
        return _operation(node.op, type_of(node.left, known), type_of(node.right, known))
    if isinstance(node, ast.Subscript):
        return type_of(node.value, known) if isinstance(node.slice, ast.Slice) else element_of(node.value, known)
    if isinstance(node, ast.BoolOp | ast.IfExp):
        arms = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
        kinds = {type_of(arm, known) for arm in arms}
        return kinds.pop() if len(kinds) == 1 else ""
    if isinstance(node, ast.Call):
        return _call(node, known)
    return next((name for form, name in _FORMS.items() if isinstance(node, form)), "")


def _operation(operator: ast.operator, left: str, right: str) -> str:
    if isinstance(operator, ast.Mod) and left == "str":
        return "str"
    if left in NUMBERS and right in NUMBERS:
        return "float" if isinstance(operator, ast.Div) or "float" in (left, right) else "int"
    if isinstance(operator, ast.Mult) and (left in _TEXTUAL or right in _TEXTUAL):
        return left if left in _TEXTUAL else right
    return left if left == right or not right else right if not left else ""


def _call(node: ast.Call, known: Known) -> str:
    function = node.func
    if isinstance(function, ast.Name):
        if function.id in ("max", "min", "abs", "sum", "round", "next", "pow"):
            return _folded(node, function.id, known)
        return _CALLS.get(function.id, "") or known(f"{function.id}()")
    if isinstance(function, ast.Attribute):
        if function.attr in ("copy", "__copy__"):
            return type_of(function.value, known)
        if function.attr in ("pop", "get", "popleft"):
            return element_of(function.value, known)
        return METHODS.get(function.attr, "") or known(f"{function.attr}()")
    return ""


def _folded(node: ast.Call, name: str, known: Known) -> str:
    """Return the type of a built-in whose result has the type of what it is given."""
    if name == "round":
        return "int" if len(node.args) == 1 else "float"
    if not node.args or isinstance(node.args[0], ast.Starred):
        return ""
    if len(node.args) == 1 and name in ("max", "min", "sum", "next"):
        return element_of(node.args[0], known)
    return type_of(node.args[0], known)


def element_of(node: ast.AST, known: Known) -> str:
    """Return the type of an element of an iterable, of a value of a dictionary, or ''."""
    if isinstance(node, ast.Name | ast.Attribute):
        if type_of(node, known) in ("str", "bytes", "range"):
            return {"str": "str"}.get(type_of(node, known), "int")
        name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
        return known(name + "{}") or known(name + "[]")
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        kinds = {type_of(element, known) for element in node.elts}
        return kinds.pop() if len(kinds) == 1 else ""
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return type_of(node.elt, known)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        return element_of(node.value, known)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return "str" if node.func.attr in ("split", "rsplit", "splitlines", "join") else ""
        if getattr(node.func, "id", "") in ("sorted", "list", "set", "reversed", "tuple", "iter") and node.args:
            return element_of(node.args[0], known)
        return "int" if getattr(node.func, "id", "") == "range" else ""
    return "str" if type_of(node, known) == "str" else ""


def annotated(annotation: ast.expr | None) -> str:
    """Return the built-in type that an annotation names, or ''."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = getattr(annotation, "id", getattr(annotation, "attr", "")).lower()
    return name if name in (*SIZED, "int", "float", "bool", "bytes", "frozenset") else ""
