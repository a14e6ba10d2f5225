"""answers: a model's text as the body of a function; refused where it is not just that.

Around a fenced block of code there may be words. The code may import from the standard library, define helpers and
constants, and must define the wanted function with as many parameters. It is parsed and written anew from its syntax,
in the module that toolgen writes; nothing of it runs here, and what it does is for the tests in the sandbox to say.
"""

import ast
import re
import sys
import warnings

from repairlab.documents.llm import MAX_CODE
from repairlab.toolgen.synthesis import Body
from repairlab.toolgen.wishes import Wish
from repairlab.trial.source import UNPARSABLE

MAX_STATEMENTS = 200
_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
TOP = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


class NoFunction(ValueError):
    """The text is not what was asked for; says why."""


def body_of(text: str, wish: Wish) -> Body:
    """Return the body of the wanted function, and what it needs, from a model's text."""
    if len(text) > MAX_CODE:
        raise NoFunction(f"has more than {MAX_CODE} characters")
    blocks = _FENCED.findall(text.replace("\r\n", "\n"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _body(ast.parse("\n".join(blocks) or text), wish)
    except NoFunction:  # a ValueError too
        raise
    except UNPARSABLE:
        raise NoFunction("is no Python") from None


def _body(tree: ast.Module, wish: Wish) -> Body:
    statements = [node for node in tree.body if not _says_nothing(node)]
    if len(statements) > MAX_STATEMENTS:
        raise NoFunction(f"has more than {MAX_STATEMENTS} statements")
    found = [node for node in statements if isinstance(node, ast.FunctionDef) and node.name == wish.name]
    if len(found) != 1:
        raise NoFunction(f"does not define {wish.name} once")
    function = found[0]
    imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    others = [node for node in statements if node is not function and node not in imports]
    if odd := next((node for node in others if not isinstance(node, TOP)), None):
        raise NoFunction(f"runs code beside its definitions, in line {odd.lineno}")
    lines = [*_renamed(function, wish), *(line for node in _after_docstring(function) for line in _lines(node))]
    imported = [ast.unparse(node) for node in imports if _standard(node)]
    return Body(tuple(lines), tuple(imported), 0.0, "answered by a model", tuple(map(ast.unparse, others)), "model")


def _says_nothing(node: ast.stmt) -> bool:
    """Whether a statement of a module is a docstring, or an import that the module has anyhow."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _standard(node: ast.Import | ast.ImportFrom) -> bool:
    """Let imports of the standard library pass, and no others: there is nothing else where tools run."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    for name in names:
        if getattr(node, "level", 0) or name.partition(".")[0] not in sys.stdlib_module_names:
            raise NoFunction(f"imports {name[:60] or 'a neighbour'}, which is not of the standard library")
    return True


def _renamed(function: ast.FunctionDef, wish: Wish) -> list[str]:
    """Return the line that gives the parameters the names which the body knows them by, if they differ."""
    args, wanted = function.args, list(wish.parameters)
    names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    if len(names) != len(wanted) or args.vararg or args.kwarg or args.kwonlyargs or function.decorator_list:
        raise NoFunction(f"does not take just {', '.join(wanted)}")
    return [] if names == wanted else [f"{', '.join(names)} = {', '.join(wanted)}"]


def _after_docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return the statements without the docstring, which the module has from the spec."""
    if ast.get_docstring(function, clean=False) is None:
        return function.body
    return function.body[1:] or [ast.Pass()]


def _lines(node: ast.stmt) -> list[str]:
    return ast.unparse(node).split("\n")
