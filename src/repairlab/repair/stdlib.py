"""stdlib: which module offers a name, and what has moved; our own interpreter's library, which can be imported.

The bundle's interpreter may be another; what it does not have fails there like any wrong candidate.
"""

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterable
from functools import cache

# In the order in which a name that several have is most often meant.
_PROVIDERS = (
    "collections", "typing", "functools", "itertools", "math", "datetime", "dataclasses", "pathlib", "enum", "abc",
    "copy", "contextlib", "random", "operator", "string", "time", "decimal", "fractions", "heapq", "bisect",
    "statistics", "json", "io", "types", "re", "os", "os.path", "textwrap", "collections.abc", "urllib.parse",
    "uuid", "tempfile", "threading", "queue", "html", "inspect", "subprocess", "shutil", "hashlib", "base64",
    "secrets", "calendar", "cmath", "zoneinfo", "warnings", "unittest", "unittest.mock", "concurrent.futures",
    "numbers", "array", "weakref", "struct", "traceback", "logging", "asyncio", "csv", "glob", "fnmatch", "pprint",
    "argparse", "sys",
)  # fmt: skip
MAX_NAME, MAX_SIMILAR = 60, 300  # characters; names of about the length that are compared
ALIASES = {"np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot", "sp": "scipy", "nx": "networkx", "dt": "datetime"}
ALIASES |= {"ET": "xml.etree.ElementTree", "mp": "multiprocessing", "tk": "tkinter"}
# "What's New in Python" 3.0 to 3.13: (module, name) → (module, name) now.
MOVED = {
    ("fractions", "gcd"): ("math", "gcd"), ("time", "clock"): ("time", "perf_counter"),
    ("inspect", "getargspec"): ("inspect", "getfullargspec"), ("cgi", "escape"): ("html", "escape"),
    ("itertools", "izip"): ("builtins", "zip"), ("itertools", "imap"): ("builtins", "map"),
    ("itertools", "ifilter"): ("builtins", "filter"), ("itertools", "izip_longest"): ("itertools", "zip_longest"),
    ("itertools", "ifilterfalse"): ("itertools", "filterfalse"), ("string", "maketrans"): ("builtins", "str.maketrans"),
    ("os", "getcwdu"): ("os", "getcwd"), ("string", "letters"): ("string", "ascii_letters"),
    ("string", "lowercase"): ("string", "ascii_lowercase"), ("string", "uppercase"): ("string", "ascii_uppercase"),
    ("sys", "maxint"): ("sys", "maxsize"), ("types", "StringType"): ("builtins", "str"),
    ("asyncio", "async"): ("asyncio", "ensure_future"), ("platform", "linux_distribution"): ("platform", "platform"),
    ("base64", "encodestring"): ("base64", "encodebytes"), ("base64", "decodestring"): ("base64", "decodebytes"),
    ("gettext", "lgettext"): ("gettext", "gettext"), ("threading", "_sleep"): ("time", "sleep"),
    ("imp", "reload"): ("importlib", "reload"),
}  # fmt: skip
RENAMED = {
    "ConfigParser": "configparser", "Queue": "queue", "StringIO": "io", "cStringIO": "io", "cPickle": "pickle",
    "urllib2": "urllib.request", "urlparse": "urllib.parse", "__builtin__": "builtins", "Tkinter": "tkinter",
    "HTMLParser": "html.parser", "httplib": "http.client", "SocketServer": "socketserver", "commands": "subprocess",
    "thread": "_thread", "copy_reg": "copyreg", "Cookie": "http.cookies", "cookielib": "http.cookiejar", "dummy_thread":
    "_thread", "UserDict": "collections", "imp": "importlib", "BaseHTTPServer": "http.server", "anydbm": "dbm",
    "xmlrpclib": "xmlrpc.client", "repr": "reprlib", "sets": "builtins", "htmlentitydefs": "html.entities",
}  # fmt: skip


@cache
def names_of(module: str) -> frozenset[str]:
    """Return the names of a module of the list above; none for any other: some say or start something when imported."""
    if module not in _PROVIDERS:
        return frozenset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules say so
        try:
            return frozenset(dir(importlib.import_module(module)))
        except ImportError:
            return frozenset()


def providers(name: str) -> list[str]:
    """Return the modules of the standard library that offer `name`, the likeliest first."""
    return [module for module in _PROVIDERS if not name.startswith("_") and name in _own_names(module)]


@cache
def _own_names(module: str) -> frozenset[str]:
    """Leave out the modules that a module has imported itself, and what belongs to another one of the list."""
    names_of(module)
    loaded = sys.modules[module]
    public = getattr(loaded, "__all__", None)
    if public is not None:
        return frozenset(public)
    return frozenset(
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_")
        and type(value).__name__ != "module"
        and getattr(value, "__module__", module) == module
    )


def is_module(name: str) -> bool:
    """True for the top-level modules of the standard library."""
    return name in sys.stdlib_module_names and not name.startswith("_")


def close(name: str, among: Iterable[str], count: int = 3) -> list[str]:
    """Return the names most like `name`, the closest first."""
    length = len(name)
    if length > MAX_NAME:
        return []
    similar = sorted(each for each in set(among) if abs(len(each) - length) <= 3 and each != name)[:MAX_SIMILAR]
    return difflib.get_close_matches(name, similar, n=count, cutoff=0.7)


def top_level() -> list[str]:
    """Return the top-level modules of the standard library."""
    return [name for name in sys.stdlib_module_names if not name.startswith("_")]
