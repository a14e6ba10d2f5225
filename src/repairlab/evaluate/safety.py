"""safety: what code could do, by its syntax tree: never by the words in it, which a comment or a string has too.

A finding weighs by how much it takes to be harmless. What counts is what the challenger can do and its parent could
not: a patch that leaves old sins alone has none of its own. Names are followed through imports and their aliases; what
is put together at run time (getattr with a computed name) is a finding itself.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

WEIGHTS = {
    "runs code from data": 0.5,
    "starts processes": 0.5,
    "uses the network": 0.5,
    "reaches into memory or interpreter": 0.4,
    "loads objects from bytes": 0.4,
    "ends the process": 0.4,
    "looks for the test runner": 0.6,
    "changes files": 0.2,
    "computes a name to look up": 0.2,
    "swallows every error": 0.15,
    "changes another module": 0.2,
    "cannot be parsed": 1.0,
}


def _table(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return name → kind of a table kind → names."""
    return {name: kind for kind, names in kinds.items() for name in names.split()}


MODULES = _table(
    {
        "starts processes": "subprocess multiprocessing pty _posixsubprocess",
        "uses the network": "socket ssl urllib.request http.client http.server ftplib smtplib telnetlib xmlrpc requests"
        " httpx httpx2 aiohttp urllib3 socketserver",
        "reaches into memory or interpreter": "ctypes _ctypes cffi gc mmap inspect",
        "loads objects from bytes": "pickle marshal shelve dill cloudpickle",
        "looks for the test runner": "pytest _pytest unittest pluggy",
    }
)
CALLS = _table(
    {
        "runs code from data": "eval exec compile __import__ importlib.import_module",
        "starts processes": "os.system os.popen os.fork os.forkpty os.posix_spawn os.posix_spawnp os.spawnl os.spawnv"
        " os.execv os.execve os.execvp os.execl os.startfile asyncio.create_subprocess_exec"
        " asyncio.create_subprocess_shell",
        "ends the process": "os._exit os.abort os.kill os.killpg sys.exit exit quit signal.raise_signal signal.signal",
        "changes files": "os.remove os.unlink os.rmdir os.rename os.replace os.truncate os.chmod os.link os.symlink"
        " os.makedirs os.mkdir shutil.rmtree shutil.move shutil.copy shutil.copyfile shutil.copytree",
        "reaches into memory or interpreter": "sys._getframe sys.settrace sys.setprofile sys._current_frames globals"
        " vars",
        "uses the network": "asyncio.open_connection asyncio.start_server",
    }
)
OPEN = ("open", "io.open", "os.open", "codecs.open")
WRITING = ("write_text", "write_bytes", "unlink", "rmdir", "touch")
RUNNERS = ("PYTEST_CURRENT_TEST", "pytest", "_pytest")


def findings(text: str | bytes) -> Counter[str]:
    """Return what the code of one module could do, by kind."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Counter({"cannot be parsed": 1})
    return Counter(_Visitor(tree).found())


def added(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Counter[str]:
    """Return what the files `after` could do more than the files `before` (path → source)."""
    return _sum(after) - _sum(before)


def score(found: Counter[str]) -> float:
    """Return what is left of 1: a finding costs its weight, a second of its kind a quarter of it, and no more."""
    cost = sum(WEIGHTS[kind] * (1 if count == 1 else 1.25) for kind, count in found.items())
    return round(max(0.0, 1.0 - cost), 6)


def _sum(files: Mapping[str, bytes]) -> Counter[str]:
    return sum((findings(text) for text in files.values()), Counter())


class _Visitor:
    """One pass over a module."""

    def __init__(self, tree: ast.Module) -> None:
        self._nodes = list(ast.walk(tree))
        self._names = dict(self._imported())

    def _imported(self) -> Iterator[tuple[str, str]]:
        """Yield (name here, full name) of what is imported."""
        for node in self._nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    yield alias.asname or top, alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"

    def found(self) -> Iterator[str]:
        """Yield a kind for each finding."""
        for node in self._nodes:
            if isinstance(node, ast.Import):
                yield from _of_modules(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from _of_modules([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
            elif isinstance(node, ast.Call):
                yield from self._of_call(node)
            elif isinstance(node, ast.ExceptHandler) and _swallows(node):
                yield "swallows every error"
            elif isinstance(node, ast.Constant) and node.value in RUNNERS:
                yield "looks for the test runner"
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and self._is_module(node.value):
                yield "changes another module"

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self._names

    def _of_call(self, node: ast.Call) -> Iterator[str]:
        name = self._full(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in CALLS:
            yield CALLS[name]
        elif name in ("getattr", "setattr", "delattr"):
            yield from self._of_lookup(name, node.args)
        elif method in WRITING or (name in OPEN and _writes(node)):
            yield "changes files"

    def _of_lookup(self, name: str, args: list[ast.expr]) -> Iterator[str]:
        if len(args) > 1 and not isinstance(args[1], ast.Constant):
            yield "computes a name to look up"
        elif name != "getattr" and args and self._is_module(args[0]):
            yield "changes another module"

    def _full(self, node: ast.expr) -> str:
        """Return the dotted name that a call goes to, through imports; '' where it has none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self._names.get(node.id, node.id), *reversed(parts)]).removeprefix("builtins.")


def _of_modules(names: Iterable[str]) -> Iterator[str]:
    """Yield the kinds of imported modules, each once: `urllib.request` is there in two spellings."""
    yield from {
        kind: None for name in names for known, kind in MODULES.items() if name == known or name.startswith(known + ".")
    }


def _swallows(node: ast.ExceptHandler) -> bool:
    every = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
    silent = all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
    return every and (silent or node.type is None)


def _writes(node: ast.Call) -> bool:
    """Whether an open() may write: any mode but a constant without w, a, x and +."""
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("mode", "flags")]
    for mode in [*node.args[1:2], *named]:
        return not (
            isinstance(mode, ast.Constant) and isinstance(mode.value, str) and not set(mode.value) & set("wax+")
        )
    return False
