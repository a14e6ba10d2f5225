"""What the design says of the source tree and no linter can: who touches what, and how large a part may grow."""

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROGRAMS = sorted((ROOT / "bin").iterdir())
TESTS = sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "bench").rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 35
SHIM_LINES = 15

# Inside a spool only repairlab.spool renames and unlinks. These move files elsewhere, each in a directory of its own.
MOVES_ELSEWHERE = {
    "repairlab.sandbox.bundle": "its content-addressed store, result files, and workers' own directories",
    "repairlab.champions.store": "champions, each a directory of its own, and the link to the present one",
    "repairlab.evaluate.extract": "patterns that sank, out of their library",
    "repairlab.metrics.log": "the full segments of its log",
    "repairlab.sandbox.meter": "what a sandbox has left in its own work directory",
    "repairlab.operate.aged": "what is old, out of stores and rooms, under cleanup's own lock",
    "repairlab.operate.configuring": "the configuration file that it writes",
    "repairlab.repair.agent": "the result files in the directory that --out names",
    "repairlab.trial.server": "inside the sandbox, in its empty work directory",
}
MOVERS = {
    "os": {"rename", "renames", "replace", "unlink", "remove", "rmdir", "removedirs", "link"},
    "shutil": {"rmtree", "move"},
}
MOVING_METHODS = {"unlink", "rename", "rmdir", "hardlink_to"}  # of pathlib; `replace` is also a string's
STARTERS = {
    "os": {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp"},
    "pty": {"fork", "spawn"},
}
STARTER_MODULES = {"subprocess", "multiprocessing", "_posixsubprocess"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def belongs(name: str, owners) -> bool:
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def lines(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls(program: ast.Module, names: dict[str, set[str]]) -> Iterator[str]:
    """Every mention of module.function, also where it was imported by itself or handed on uncalled."""
    for node in ast.walk(program):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if attr in names.get(owner, ()):
                yield f"{owner}.{attr}"
            case ast.ImportFrom(module=owner, names=imported):
                yield from (f"{owner}.{alias.name}" for alias in imported if alias.name in names.get(owner or "", ()))


def moves(program: ast.Module) -> Iterator[str]:
    yield from calls(program, MOVERS)
    for node in ast.walk(program):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in MOVING_METHODS:
                if not (isinstance(value, ast.Name) and value.id in MOVERS):
                    yield f".{attr}()"


def starts(program: ast.Module) -> Iterator[str]:
    yield from calls(program, STARTERS)
    yield from imports(program, STARTER_MODULES)


def imports(program: ast.Module, wanted: set[str]) -> Iterator[str]:
    for node in ast.walk(program):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.partition(".")[0] in wanted)
            case ast.ImportFrom(module=str(owner)) if owner.partition(".")[0] in wanted:
                yield owner


def offenders(found: Callable[[ast.Module], Iterator[str]], allowed) -> dict[str, list[str]]:
    seen = {module(path): sorted(set(found(tree(path)))) for path in SOURCES}
    return {name: what for name, what in seen.items() if what and not belongs(name, allowed)}


def test_only_spool_renames_and_unlinks_inside_a_spool():
    assert offenders(moves, {"repairlab.spool", *MOVES_ELSEWHERE}) == {}


def test_every_exception_to_the_spool_rule_is_still_needed():
    used = [name for name in MOVES_ELSEWHERE if any(belongs(m, [name]) for m in offenders(moves, {"repairlab.spool"}))]
    assert used == list(MOVES_ELSEWHERE)


def test_only_process_and_sandbox_start_processes():
    # What runs inside the sandbox forks there, under the sandbox's limits.
    allowed = {"repairlab.process", "repairlab.sandbox", "repairlab.trial.server", "repairlab.trial.inside"}
    assert offenders(starts, allowed) == {}


def test_only_journal_configures_logging():
    assert offenders(lambda program: imports(program, {"logging"}), {"repairlab.journal"}) == {}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (moves, "import os\nos.rename('a', 'b')"),
        (moves, "from os import unlink"),
        (moves, "step('x', os.replace, 'a', 'b')"),
        (moves, "from pathlib import Path\nPath('x').unlink()"),
        (moves, "import shutil\nshutil.rmtree('x')"),
        (starts, "import subprocess as s"),
        (starts, "from multiprocessing.pool import Pool"),
        (starts, "import os\nos.fork()"),
        (lambda program: imports(program, {"logging"}), "import logging.config"),
    ],
)
def test_a_forbidden_call_is_found_however_it_is_written(found, text):
    assert list(found(ast.parse(text)))


def test_harmless_look_alikes_are_not_found():
    program = ast.parse("'a'.replace('b', 'c')\nlines.remove(x)\nrecords.link\nimport os\nos.listdir('.')")
    assert list(moves(program)) == []


@pytest.mark.parametrize("path", [*SOURCES, *PROGRAMS, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_grows_past_what_one_sitting_reads(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES


def test_nine_functions_in_ten_fit_on_a_screen():
    sizes = sorted(lines(node) for path in SOURCES for node in functions(path))
    assert sizes[len(sizes) * 9 // 10] <= FUNCTION_LINES
    assert statistics.median(sizes) <= 10


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_no_function_is_twice_a_screen(path):
    assert [node.name for node in functions(path) if lines(node) > 2 * FUNCTION_LINES] == []


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_a_module_opens_with_its_purpose(path):
    program = tree(path)
    if program.body:
        assert ast.get_docstring(program), f"{path} has no docstring"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_is_a_shim_behind_the_one_error_boundary(path):
    text = path.read_text()
    assert len(text.splitlines()) <= SHIM_LINES
    assert text.startswith("#!/usr/bin/env python3\n")
    assert "sys.exit(reported(main, sys.argv[1:]))" in text
    assert path.stat().st_mode & 0o111 == 0o111


def test_no_lock_and_no_script_names_a_package_index():
    scripts = [ROOT / "setup.sh", ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci/run"]
    named = [
        path for path in [*(ROOT / "deploy").rglob("*"), *scripts] if path.is_file() and b"://" in path.read_bytes()
    ]
    assert named == []


def test_every_locked_package_is_pinned_by_hash():
    for lock in (ROOT / "deploy/lock").glob("*.txt"):
        for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
            assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
            assert "--hash=sha256:" in entry, entry


def test_the_locks_agree_with_each_other():
    def pins(name):
        return set(re.findall(r"^(\S+==\S+)", (ROOT / f"deploy/lock/{name}.txt").read_text(), re.MULTILINE))

    assert pins("runtime") <= pins("dev")


def test_every_exception_to_a_lint_rule_has_its_reason():
    ignores = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2].partition("[tool.mypy]")[0]
    before = ""
    for line in ignores.splitlines():
        if re.match(r'\s*"[A-Z]+[0-9]*"', line):
            assert "#" in line or before.strip().startswith("#"), f"no reason: {line}"
        before = line


def test_no_source_silences_a_linter_without_naming_the_rule():
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[)|noqa(?!: ?[A-Z]))")
    assert [module(path) for path in SOURCES if bare.search(path.read_text())] == []


def test_the_package_has_the_version_of_the_project():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert (ROOT / "deploy/debian/changelog").read_text().startswith(f"repairlab ({version}) ")
