"""Imports: what is proposed where a load fails or a name is bound by nothing."""

import ast
import time

import pytest

from repairlab.repair import imports, outcomes
from repairlab.repair.candidates import generate
from repairlab.repair.literals import project_of
from repairlab.repair.transformations import Scope, Site
from repairlab.repair.transformations.imports import undefined
from repairlab.trial import options
from repairlab.trial.bundle import Bundle
from repairlab.trial.source import Source
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import Cause


def bundle_of(**files):
    raw = {name.replace("0", "/") + ".py": text.encode() for name, text in files.items()}
    found = Bundle(raw, frozenset(), {})
    found.sources = {path: Source.decode(path, content) for path, content in raw.items()}
    return found


def proposed(bundle, path, **cause):
    changes = imports.at_load(bundle, Cause(**{"base": "ImportError"} | cause), [(path, 1)])
    best = sorted(changes, key=lambda change: -change.score)
    return [bundle.patched(change.edits)[path].decode() for change in best]


HELPERS = "def add(a, b):\n    return a + b\n"
AT_LOAD = {
    "defined_elsewhere": ("from a import add\n", "cannot import name 'add' from 'a'", "a", "from b import add\n"),
    "spelt_otherwise": ("from b import ad\n", "cannot import name 'ad' from 'b'", "b", "from b import add as ad\n"),
    "one_of_many": ("from a import X, add\n", "cannot import name 'add' from 'a'", "a",
                    "from a import X\nfrom b import add\n"),
    "moved": ("from collections import Mapping\n", "cannot import name 'Mapping'", "collections",
              "from collections.abc import Mapping\n"),
    "builtin_now": ("from itertools import izip\n", "cannot import name 'izip'", "itertools", "izip = zip\n"),
    "renamed": ("import ConfigParser\n", "No module named 'ConfigParser'", "ConfigParser",
                "import configparser as ConfigParser\n"),
    "module_misspelt": ("import colections\n", "No module named 'colections'", "colections",
                        "import collections as colections\n"),
    "elsewhere_in_the_project": ("from c import deep\n", "No module named 'c'", "c", "from pkg.c import deep\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_LOAD)
def test_a_failing_import_is_replaced_by_what_was_meant(name):
    statement, message, missing, wanted = AT_LOAD[name]
    bundle = bundle_of(m=statement, a="X = 1\n", b=HELPERS, pkg0__init__="", pkg0c="def deep():\n    pass\n")
    assert wanted in proposed(bundle, "m.py", message=message, name=missing)[:3]


def test_inside_a_package_the_relative_import_is_tried_first():
    bundle = bundle_of(pkg0__init__="", pkg0m="from helpers import add\n", pkg0helpers=HELPERS)
    assert proposed(bundle, "pkg/m.py", message="No module named 'helpers'", name="helpers")[0] == (
        "from .helpers import add\n"
    )


def test_a_circular_import_moves_into_the_functions_that_need_it():
    text = 'from m import ONE\n\n\ndef two():\n    """Two."""\n    return ONE + ONE\n\n\ndef three():\n    return 3\n'
    bundle = bundle_of(other=text, m="from other import two\n\nONE = 1\n")
    message = "cannot import name 'ONE' from partially initialized module 'm' (most likely due to a circular import)"
    found = proposed(bundle, "other.py", message=message, name="m")
    assert found[0] == text.replace("from m import ONE\n", "", 1).replace(
        "    return ONE", "    from m import ONE\n    return ONE"
    )
    assert any(new.startswith("import m\n") and "m.ONE + m.ONE" in new for new in found)
    for new in found:
        ast.parse(new)


def test_an_import_used_when_the_module_loads_stays_where_it_is():
    bundle = bundle_of(other="from m import ONE\n\n\ndef two(x=ONE):\n    return x\n", m="ONE = 1\n")
    found = proposed(bundle, "other.py", message="partially initialized module 'm'", name="m")
    assert not any("    from m import" in new for new in found)


ABSENT = {
    "renamed": ("m", "def incr(x):\n    return incr\n", "cannot import name 'inc' from 'm' (/b/m.py)",
                "def inc(x):\n    return inc\n"),
    "another_name_for_it": ("m", "def incr(x):\n    return x", "module 'm' has no attribute 'inc'",
                            "def incr(x):\n    return x\n\n\ninc = incr\n"),
    "not_exported": ("pkg0__init__", "", "cannot import name 'add' from 'pkg' (/b/pkg/__init__.py)",
                     "\nfrom .b import add\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_a_module_is_given_the_name_that_a_test_imports_from_it(name):
    module, text, message, wanted = ABSENT[name]
    bundle = bundle_of(**{module: text, "pkg0b": HELPERS})
    path = module.replace("0", "/") + ".py"
    changes = imports.absent(bundle, Cause(message=message))
    assert wanted in [bundle.patched(change.edits)[path].decode() for change in changes]


def test_a_name_that_is_imported_for_nothing_is_dropped():
    bundle = bundle_of(m="from a import X, gone\n", a="X = 1\n")
    found = proposed(bundle, "m.py", message="cannot import name 'gone' from 'a'", name="a")
    assert "from a import X\n" in found


def test_a_module_hidden_by_the_interpreters_own_is_named():
    bundle = bundle_of(random="def inc(x):\n    return x\n")
    cause = Cause(
        kind="ImportError", base="ImportError", message="cannot import name 'inc' from 'random' (/lib/random.py)"
    )
    assert "random.py is hidden" in outcomes.unloadable([cause], [], bundle, str).details


RUN = {
    "module": ("return re.sub('a', 'b', x)", "import re\n"),
    "class": ("return Counter(x)", "from collections import Counter\n"),
    "function_of_the_project": ("return add(x, 1)", "from b import add\n"),
    "moved_attribute": ("return isinstance(x, collections.Mapping)", "collections.abc.Mapping"),
    "class_for_its_module": ("return datetime.now()", "datetime.datetime.now()"),
    "attribute_misspelt": ("return datetime.timedeltas(x)", "datetime.timedelta(x)"),
    "name_misspelt": ("value = x\n    return valeu", "return value"),
}


@pytest.mark.parametrize("name", RUN)
def test_a_name_that_nothing_binds_is_repaired_first(name):
    body, wanted = RUN[name]
    text = f'"""Doc."""\nimport collections\nimport datetime\n\n\ndef f(x):\n    {body}\n'
    source = Source("m.py", text, "utf-8")
    sources = {"m.py": source, "b.py": Source("b.py", HELPERS, "utf-8")}
    project = project_of({}, sources, {}, 1)
    lines = {("m.py", number): 1.0 for number in range(7, 9)}
    found = [source.edited(change.edits) for change in generate(sources, lines, project)]
    assert any(wanted in new for new in found[:4]), found[:4]


@pytest.mark.timeout(120)
def test_a_file_full_of_names_that_nothing_binds_takes_no_longer_than_any_other():
    text = "".join(f"known_{n} = 1\n" for n in range(4000)) + "def f():\n"
    text += "".join(f"    unknown_{n}\n" for n in range(4000))
    source = Source("m.py", text, "utf-8")
    began = time.process_time()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            list(undefined(Site(source, node, Scope(source, None), project_of({}, {}, {}, 1))))
    assert time.process_time() - began < 15  # comparing each with each takes minutes


@pytest.mark.parametrize(
    "body", ["return x", "return len(x)", "import json\n    return json", "return datetime.date(x)"]
)
def test_names_that_something_binds_are_left_alone(body):
    source = Source("m.py", f"import datetime\n\n\ndef f(x):\n    {body}\n", "utf-8")
    changes = generate({"m.py": source}, {("m.py", n): 1.0 for n in range(1, 8)}, project_of({}, {}, {}, 1))
    assert not [change for change in changes if change.family == "imports"]


CONFIGURED = {
    "ini": {"pytest.ini": b"[pytest]\naddopts = -n auto -v --cov=src tests\n"},
    "toml": {"pyproject.toml": b"[tool.pytest.ini_options]\naddopts = ['-n', '4', '-v', '--cov', 'src', 'tests']\n"},
    "cfg": {"setup.cfg": b"[tool:pytest]\naddopts = -v -p xdist -n4 tests\n"},
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_options_that_start_processes_or_measure_are_left_out_and_named(name):
    files = CONFIGURED[name] | {"tests/test_a.py": b"", "src/a.py": b""}
    arguments, named = options.left_out(files)
    assert arguments == ["-o", "addopts=-v tests"]
    assert len(named) == 2


def test_a_configuration_that_asks_for_nothing_odd_is_not_touched():
    assert options.left_out({"pytest.ini": b"[pytest]\naddopts = -v --doctest-modules -p no:warnings\n"}) == ([], [])
    assert options.left_out({"pytest.ini": b"\xff[", "tox.ini": b"[pytest]\naddopts = -n 2\n"}) == ([], [])
    assert options.left_out({"pyproject.toml": b"addopts = [" + b"[" * 5000}) == ([], [])


def test_what_pytest_refuses_is_left_out_with_its_value():
    files = {"pytest.ini": b"[pytest]\naddopts = --foo bar --strict-markers\n", "test_a.py": b""}
    message = "usage: pytest\npytest: error: unrecognized arguments: --foo\n  inifile: x"
    unknown, plugins, required = outcomes.refused(message)
    assert options.left_out(files, unknown, plugins) == (["-o", "addopts=--strict-markers"], ["--foo bar"])
    assert not required


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Failed: async def functions are not natively supported.", "plugin_missing"),
        ("FixtureLookupError: ('mocker', <FixtureRequest for <Function test_a>>)", "plugin_missing"),
        ("gaierror: [Errno -3] Temporary failure in name resolution", "needs_network"),
        ("[XPASS(strict)] not yet", "expected_failure"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", None),
        ("AssertionError: assert 1 == 2", None),
    ],
)  # fmt: skip
def test_tests_that_no_edit_can_repair_are_named(message, reason):
    stop = outcomes.out_of_reach([TestRun("test_a.py::test_a", "f", message=message)])
    assert (stop.reason if stop else None) == reason
