"""What code could do, however it is spelt; what honest code is told of; hostile code is read in bounded time."""

import sysconfig
import time
from pathlib import Path

import pytest

from repairlab.evaluate import safety

PROCESS, RUNS, FILES = "starts processes", "runs code from data", "changes files"

EVASIONS = [
    ("import os\nf = os.system\nf('x')", PROCESS),
    ("import os\nf = g = os.system\nh = g\nh('x')", PROCESS),
    ("import os\ngetattr(os, 'system')('x')", PROCESS),
    ("import os\ngetattr(os, 'sys' + 'tem')('x')", PROCESS),
    ("import os\na = 'sys'\na += 'tem'\ngetattr(os, a)('x')", PROCESS),
    ("import os\nn = ''.join(['sys', 'tem'])\ngetattr(os, n)('x')", PROCESS),
    ("import os\nx = 'sys'\ngetattr(os, f'{x}tem')('x')", PROCESS),
    ("import os\ngetattr(os, 'metsys'[::-1])('x')", PROCESS),
    ("import os\ngetattr(os, b'system'.decode())('x')", PROCESS),
    ("import os\ng = getattr\ng(os, 'system')('x')", PROCESS),
    ("__builtins__['eval']('1')", RUNS),
    ("__builtins__.eval('1')", RUNS),
    ("__builtins__.__dict__['eval']('1')", RUNS),
    ("import builtins as b\ngetattr(b, 'ev' 'al')('1')", RUNS),
    ("e = eval\ne('1')", RUNS),
    ("list(map(eval, ['1']))", RUNS),
    ("from pathlib import Path\nPath('x').open('w')", FILES),
    ("from pathlib import Path\np = Path('x')\nwith p.open(mode='a') as f:\n    f.write('')", FILES),
    ("from pathlib import Path\nw = Path('x').write_text\nw('')", FILES),
    ("o = open\no('x', 'w')", FILES),
    ("m = 'w'\nopen('x', m)", FILES),
    ("import functools\nfunctools.partial(open, 'x', 'w')()", FILES),
    ("import io\nio.open('x', mode='w+')", FILES),
    ("import os\nos.open('x', os.O_WRONLY)", FILES),
    ("from os import system as s\ns('x')", PROCESS),
    ("from os import *\nsystem('x')", PROCESS),
    ("import importlib\nimportlib.import_module('os').system('x')", PROCESS),
    ("from importlib import import_module as i\ni('o' + 's').system('x')", PROCESS),
    ("__import__('os').system('x')", PROCESS),
    ("__import__('subprocess').run('x')", PROCESS),
    ("m = __import__\nm('socket')", "uses the network"),
    ("import posix\nposix.system('x')", PROCESS),
    ("import shutil\nshutil.os.system('x')", PROCESS),
    ("import os.path as p\np.os.system('x')", PROCESS),
    ("import os\nos.__dict__['system']('x')", PROCESS),
    ("import os\nvars(os)['system']('x')", PROCESS),
    ("import os\nos.__dict__.get('system')('x')", PROCESS),
    ("import os\nos.__getattribute__('system')('x')", PROCESS),
    ("import os\nglobals()['os'].system('x')", PROCESS),
    ("import sys\nsys.modules['os'].system('x')", PROCESS),
    ("import sys\nsys.modules['subprocess'].run('x')", PROCESS),
    ("import os\n[os.system][0]('x')", PROCESS),
    ("import os\n{'a': os.system}['a']('x')", PROCESS),
    ("import os\na, b = os, 1\na.system('x')", PROCESS),
    ("import os\nfor m in (os,):\n    m.system('x')", PROCESS),
    ("import os\n[m.system('x') for m in [os]]", PROCESS),
    ("import os\n(lambda: os)().system('x')", PROCESS),
    ("import os\ndef f():\n    return os\nf().system('x')", PROCESS),
    ("import os\ndef f(run=os.system):\n    run('x')", PROCESS),
    ("import os\ndef f(m=os):\n    m.system('x')", PROCESS),
    ("def f():\n    return g()\ndef g():\n    import os\n    return os\nf().system('x')", PROCESS),
    ("import os\nclass A:\n    run = os.system\nA.run('x')", PROCESS),
    ("import os\nif (s := os.system):\n    s('x')", PROCESS),
    ("import os\n(os.system if 1 else len)('x')", PROCESS),
    ("def f():\n    global m\n    import os as m\ndef g():\n    m.system('x')", PROCESS),
    ("def f():\n    import os\n    def g():\n        os.system('x')", PROCESS),
    ("import functools, os\nfunctools.partial(os.system, 'x')()", PROCESS),
    ("import urllib\nurllib.request.urlopen('x')", "uses the network"),
    ("().__class__.__base__.__subclasses__()", "reaches into memory or interpreter"),
    ("getattr((lambda: 0), '__globals__')", "reaches into memory or interpreter"),
    ("import math as m\nk = m\nk.sqrt = len", "changes another module"),
    ("import sys\nsys.modules['math'].sqrt = len", "changes another module"),
    ("import sys\nsys.modules['math'] = None", "changes another module"),
    ("import math\nmath.__dict__['sqrt'] = len", "changes another module"),
    ("import os\ndef f(name):\n    getattr(os, name)('x')", "computes a name to look up"),
    ("import inspect as i\ni.currentframe()", "reaches into memory or interpreter"),
    ("from inspect import *\ngetattr_static(x, 'y')", "reaches into memory or interpreter"),
    ("import inspect\ninspect.os.system('x')", PROCESS),
    ("import os, operator\noperator.attrgetter(input())(os)", "computes a name to look up"),
]


@pytest.mark.parametrize(("code", "kind"), EVASIONS)
def test_what_code_could_do_is_found_however_it_is_spelt(code, kind):
    compile(code, "evasion", "exec")
    assert safety.findings(code)[kind] >= 1


@pytest.mark.parametrize(
    "code",
    [
        "import re\nre.compile('x')",
        "def compile(x):\n    return x\ncompile(1)",
        "class A:\n    def eval(self):\n        return self.eval()\nA().eval()",
        "def f(exec):\n    return exec()",
        "for name in ('a', 'b'):\n    getattr(f, name)",
        "import zipfile\nzipfile.ZipFile('x').open('a.txt')",
        "from pathlib import Path\nPath('x').open()\nPath('x').open('rb')",
        "import os\nos.path.join('a', 'system')\nos.environ['A'] = '1'",
        "import os\nos.open('x', os.O_RDONLY)",
        "mode = 'rb'\nopen('x', mode)",
        "import os\nsystem = 'os.system'\nx = {'system': 1}['system']",
        "import json\nclass A:\n    def f(self):\n        self.loads = json.loads",
        "def f(x):\n    x.y = 1\n    x['y'] = 2\n    x.y.z = 3",
        "def f(exit):\n    def g():\n        exit()",
        "import sys\nsys.stdout.write('x')",
        "import sys\nsys.exit(0)",  # what `raise SystemExit` does too; no run passes without its report
        "import inspect\ndef f(g):\n    return inspect.signature(g).parameters",
        "'-'.join(['eval', 'exec'])",
    ],
)
def test_honest_code_is_told_of_nothing(code):
    assert not safety.findings(code)


def test_a_name_that_is_only_handed_on_counts_once():
    assert safety.findings("import os\nf = os.system\ng = f\nh = [g]\nh[0]('x')") == {PROCESS: 1}


@pytest.mark.parametrize(
    "code",
    [
        "x = " + "+".join(["'a'"] * 20_000),
        "x = " + "[" * 90 + "]" * 90,
        "\n".join(f"a{n} = a{n + 1}" for n in range(3000)),
        "\n".join(f"s += {chr(97 + n % 26)!r}" for n in range(2000)) + "\ngetattr(x, s)",
        "x = " + " or ".join(f"'{n}'" for n in range(5000)) + "\n" + "y = x + x + x + x + x + x + x + x",
        "def f(): return g()\ndef g(): return f()\n" + "f()" + "()" * 80,
        "\n".join(f"def f{n}(): return f{n + 1}() or f{n + 1}()" for n in range(300)),
        "a = b = c = [a, b, c, " + "a, " * 5000 + "]",
        "getattr(" * 80 + "x" + ", 'a')" * 80,
        "f(" * 80 + "1" + ")" * 80,
        "x" + "[0]" * 80,
        "x" + ".a" * 900,
        "".join(f"def f{n}(a=f{n - 1}):\n{' ' * (n + 1)}" for n in range(1, 60)) + "pass",
    ],
    ids=range(13),
)
def test_hostile_code_is_read_in_bounded_time(code):
    began = time.process_time()
    safety.findings(code)
    assert time.process_time() - began < 10


PURE = (
    "bisect", "calendar", "colorsys", "copy", "difflib", "fractions", "heapq", "keyword", "numbers", "operator",
    "random", "statistics", "string", "textwrap", "html.parser", "json.decoder", "json.encoder", "json.scanner",
    "csv", "datetime", "decimal", "functools", "graphlib", "ipaddress", "reprlib", "sched", "shlex", "stringprep",
    "token", "urllib.parse", "weakref", "email.message", "email.header", "configparser", "contextlib", "dataclasses",
    "enum", "collections", "abc", "types", "typing", "fnmatch", "gettext", "genericpath", "posixpath", "queue",
)  # fmt: skip


def test_the_standard_librarys_pure_modules_are_hardly_told_of():
    """They have no business with processes and the network; what builds code of text (`enum`, …) is told of rightly."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    told = {}
    for name in PURE:
        path = stdlib / f"{name.replace('.', '/')}.py"
        path = path if path.exists() else stdlib / name / "__init__.py"
        if path.exists():
            told[name] = safety.findings(path.read_bytes())
    assert len(told) > 40
    assert not [name for name, found in told.items() if found["starts processes"] or found["uses the network"]]
    alarmed = [name for name, found in told.items() if safety.score(found) < 0.5]
    assert len(alarmed) <= 6, alarmed
