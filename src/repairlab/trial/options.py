"""options: what the bundle's own pytest configuration asks for that cannot be had here.

`addopts` that name a plugin which is not installed, or one that the search switches off (processes of its own,
coverage, the cache of the last run, a debugger), would end pytest before it collects. They are left out, one by one,
and named; the others stay as they are. The configuration file is the one that pytest would take; it is only read here.
"""

import configparser
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Files by precedence (pytest's "Initialization: determining rootdir and configfile"), with the sections that count.
_FILES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("pytest.toml", (("pytest",),)),
    (".pytest.toml", (("pytest",),)),
    ("pytest.ini", (("pytest",),)),
    (".pytest.ini", (("pytest",),)),
    ("pyproject.toml", (("tool", "pytest", "ini_options"), ("tool", "pytest"))),
    ("tox.ini", (("pytest",),)),
    ("setup.cfg", (("tool:pytest",),)),
)
_ALONE = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")  # count also where they say nothing
_SWITCHED_OFF = re.compile(
    r"-n\d*$|-n(auto|logical)$|--(numprocesses|dist|maxprocesses|tx|looponfail|cov|no-cov|lf|last-failed|ff|failed-first"
    r"|nf|new-first|sw|stepwise|cache|pdb|trace|junit-?xml|html|reruns|count|flake-finder)([-=].*)?$"
)
_TAKE_A_VALUE = re.compile(
    r"-n$|--(numprocesses|dist|maxprocesses|tx|cov|cov-\w+|junit-?xml|html|reruns\S*|count|lfnf)$"
)
_OFF_PLUGINS = ("xdist", "pytest_cov", "cacheprovider", "randomly", "faulthandler")
MAX_CONFIGURATION = 1 << 20


def left_out(
    files: Mapping[str, bytes], unknown: Iterable[str] = (), plugins: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Return (arguments that take the place of `addopts`, the options that are left out); nothing for nothing.

    `unknown` are the options and `plugins` the plugins that pytest has said it does not know.
    """
    unwanted, without = set(unknown), {*plugins, *_OFF_PLUGINS}
    tokens = addopts(files)
    kept: list[str] = []
    dropped: list[str] = []
    while tokens:
        word = tokens.pop(0)
        value = [tokens.pop(0)] if tokens and not tokens[0].startswith("-") and _owns(word, tokens[0], files) else []
        plugin = value[0] if word == "-p" and value else word[2:] if word.startswith("-p") else ""
        off = _SWITCHED_OFF.match(word) or word in unwanted or plugin.removeprefix("no:") in without
        (dropped if off else kept).append(" ".join([word, *value]) if off else shlex.join([word, *value]))
    return (["-o", f"addopts={' '.join(kept)}"], dropped) if dropped else ([], [])


def _owns(word: str, following: str, files: Mapping[str, bytes]) -> bool:
    """True where `following` is the value of the option before it, and no path of its own."""
    if _TAKE_A_VALUE.match(word) or word in ("-p", "-m", "-k", "-o", "-c", "-W", "-r"):
        return True
    path = following.partition("::")[0].rstrip("/")
    return word.startswith("-") and "=" not in word and not any(f == path or f.startswith(path + "/") for f in files)


def addopts(files: Mapping[str, bytes]) -> list[str]:
    """Return the words of `addopts` in the configuration that pytest takes."""
    for name, sections in _FILES:
        read = _toml if name.endswith(".toml") else _ini
        for section in sections if name in files and len(files[name]) <= MAX_CONFIGURATION else ():
            found = _section(read, files[name], section)
            if found is None and name not in _ALONE:
                continue
            given = (found or {}).get("addopts", "")
            try:
                return [str(word) for word in given] if isinstance(given, list) else shlex.split(str(given))
            except ValueError:  # a quote without its end: pytest will say so
                return []
    return []


def _section(
    read: Callable[[str, tuple[str, ...]], Mapping[str, Any] | None], raw: bytes, section: tuple[str, ...]
) -> Mapping[str, Any] | None:
    try:
        return read(raw.decode("utf-8-sig"), section)
    except (ValueError, configparser.Error, RecursionError):  # pytest will say so
        return None


def _toml(text: str, section: tuple[str, ...]) -> Mapping[str, Any] | None:
    found: Any = tomllib.loads(text)
    for key in section:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _ini(text: str, section: tuple[str, ...]) -> Mapping[str, Any] | None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return dict(parser.items(section[0])) if parser.has_section(section[0]) else None
