"""outcomes: the named ends of an attempt that found nothing to search, each with its reason and what a person can do.

What the sandbox reports is untrusted text: it is quoted, shortened, and decides nothing but the words.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from repairlab.trial.bundle import Bundle
from repairlab.trial.testrun import TestRun
from repairlab.trial.validation import Cause

Relative = Callable[[str], str]  # the bundle's name for a path inside the sandbox, '' for what is not the bundle's

_NETWORK = re.compile(
    r"gaierror|Name or service not known|Temporary failure in name resolution|Network is unreachable"
    r"|No route to host|NameResolutionError|ENETUNREACH"
)
_TERMINAL = re.compile(r"reading from stdin|EOFError: EOF when reading a line|Inappropriate ioctl for device")
_FIXTURES = {
    "mocker": "pytest-mock", "benchmark": "pytest-benchmark", "httpserver": "pytest-httpserver",
    "client": "pytest-django", "db": "pytest-django", "freezer": "pytest-freezer", "requests_mock": "requests-mock",
    "snapshot": "syrupy",
    "event_loop": "pytest-asyncio", "httpx_mock": "pytest-httpx", "qtbot": "pytest-qt", "faker": "Faker",
    "aiohttp_client": "pytest-aiohttp", "datadir": "pytest-datadir", "fs": "pyfakefs", "testdir": "pytest's pytester",
}  # fmt: skip
INSTALL = "install it there, or name in the handoff's `python` an interpreter whose environment has it"


class Stop(Exception):
    """The attempt is over: `reason` is the named outcome."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(details)
        self.reason = reason
        self.details = details[:2000]


def unloadable(causes: Sequence[Cause], errors: Sequence[tuple[str, str]], bundle: Bundle, relative: Relative) -> Stop:
    """Return the outcome of a bundle whose tests cannot be collected."""
    cause = causes[0] if causes else Cause(message=errors[0][1] if errors else "no reason given")
    place = at(cause, relative) or cause.where
    more = f" ({len(causes) - 1} more files do not load)" if len(causes) > 1 else ""
    said = (
        f"{place}: {cause.kind}: {last_line(cause.message)}" if cause.kind else f"{place}: {last_line(cause.message)}"
    )
    if cause.base == "SyntaxError":
        fix = (
            "tests are never edited"
            if place.split(":")[0] not in bundle.sources
            else "no change of a token makes it parse"
        )
        return Stop("syntax_error", f"{said}; {fix}{more}")
    if cause.kind == "ModuleNotFoundError" and cause.name.split(".")[0] not in bundle.modules:
        name = cause.name.split(".")[0]
        return Stop("module_missing", f"{place} imports {name!r}, which the interpreter does not have: {INSTALL}{more}")
    if cause.kind == "UsageError":
        return Stop("configuration_error", f"pytest's own configuration in the bundle: {complaint(cause.message)}")
    return Stop("collection_error", f"{said}{_hidden(cause, bundle)}{more}")


def _hidden(cause: Cause, bundle: Bundle) -> str:
    """Return what to say of a module of the bundle that the interpreter never sees, since it has one of that name."""
    found = re.search(r"cannot import name '\w+' from '(\w+)' \(([^()]*)\)$", cause.message)
    path = bundle.modules.get(found.group(1), "") if found else ""
    if found is None or not path or found.group(2).endswith(f"/bundle/{path}"):
        return ""
    return f"; the bundle's {path} is hidden by the interpreter's module of the same name: rename it"


def at(cause: Cause, relative: Relative) -> str:
    """Return file:line of the innermost frame that is the bundle's, '' where there is none."""
    return next((f"{name}:{line}" for path, line in reversed(cause.frames) if (name := relative(path))), "")


def last_line(text: str) -> str:
    """Return the line of a message that says most: the last with text, at a readable length."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    telling = [line for line in lines if line.startswith("E ")] or [line for line in lines if "rror" in line] or lines
    return telling[-1].removeprefix("E ").strip()[:500]


def complaint(message: str) -> str:
    """Return what pytest says of its command line or configuration, without usage and paths."""
    found = re.search(r"error: (.*)", message)
    return (found.group(1) if found else last_line(message))[:500]


def refused(message: str) -> tuple[list[str], list[str], bool]:
    """Return (options, plugins, whether required plugins are missing) that a message of pytest's complains of."""
    unknown = re.search(r"unrecognized arguments: (.*)", message)
    plugin = re.search(r"Error importing plugin \"([\w.\-]+)\"", message)
    options = unknown.group(1).split() if unknown else []
    return options, [plugin.group(1)] if plugin else [], "Missing required plugins" in message


def nothing_ran(tests: Sequence[TestRun]) -> Stop | None:
    """Return the outcome of a bundle none of whose tests says anything: all are skipped."""
    if any(test.outcome != "s" for test in tests):
        return None
    why = next((test.message for test in tests if test.message), "")
    return Stop(
        "no_tests_ran",
        f"all {len(tests)} tests are skipped, so that nothing is proved{': ' + why if why else ''}; "
        "lift the skip, or give what it waits for (a module, a platform, a variable in the handoff's `env`)",
    )


def out_of_reach(tests: Iterable[TestRun]) -> Stop | None:
    """Return the outcome of failing tests that no edit can repair, since something around them is missing."""
    failing = [test for test in tests if test.failing]
    if failing and all(test.message.startswith("[XPASS(strict)]") for test in failing):
        fix = "take the mark away, or let the test expect what holds now"
        return Stop("expected_failure", f"{failing[0].id} is marked xfail(strict=True) and passes: {fix}")
    for test in failing:
        if "async def functions are not natively supported" in test.message:
            fix = f"pytest-asyncio or anyio, which the interpreter does not have: {INSTALL}"
            return Stop("plugin_missing", f"{test.id} is `async def` and needs a plugin such as {fix}")
        if found := re.search(r"fixture '(\w{1,60})' not found|FixtureLookupError: .*\('(\w{1,60})'", test.message):
            fixture = found.group(1) or found.group(2)
            known = f"from {_FIXTURES[fixture]} " if fixture in _FIXTURES else ""
            return Stop(
                "plugin_missing", f"{test.id} needs the fixture {fixture!r} {known}and nothing defines it: {INSTALL}"
            )
        if _NETWORK.search(test.message):
            said = last_line(test.message)
            return Stop("needs_network", f"{test.id} needs the network, which the sandbox does not give: {said}")
    return None


def hint(tests: Iterable[TestRun]) -> str:
    """Return what a person should know of tests that no candidate repaired, '' where there is nothing."""
    for test in tests:
        if test.failing and test.message.startswith("[XPASS(strict)]"):
            return f"; {test.id} is marked xfail(strict=True) and passes"
        if test.failing and _TERMINAL.search(test.message):
            return f"; {test.id} reads standard input or a terminal, and there is none: {last_line(test.message)}"
    return ""
