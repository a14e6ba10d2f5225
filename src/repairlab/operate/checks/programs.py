"""programs: the interpreter, the packages, the journal, the configuration, the sandboxes."""

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from repairlab.errors import Unavailable
from repairlab.operate.app import App
from repairlab.operate.checks import Check, Status

OLDEST = (3, 11)
SETUP = "run `./setup.sh venv` in the source tree, or install the package again"


def python() -> Iterator[Check]:
    """Whether the interpreter is one that we support."""
    version = f"Python {platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST:
        yield Check("python", Status.FAIL, version, "install Python 3.11 or newer")
    else:
        yield Check("python", Status.OK, version)


def packages() -> Iterator[Check]:
    """Whether every package that we declare is installed."""
    missing, found = [], []
    for name in _declared():
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", Status.FAIL, f"not installed: {', '.join(missing)}", SETUP)
    else:
        yield Check("packages", Status.OK, ", ".join(found))


def _declared() -> list[str]:
    try:
        required = metadata.requires("repairlab") or []
    except metadata.PackageNotFoundError:  # a checkout that was put on the path
        return ["click", "filelock", "msgspec", "orjson", "pytest", "rich", "unidiff", "watchdog"]
    plain = (line for line in required if "extra ==" not in line)
    return [match[0] for line in plain if (match := re.match(r"[A-Za-z0-9._-]+", line))]


def journal() -> Iterator[Check]:
    """How events would reach the journal."""
    from repairlab import journal as ours

    backend = ours.installed()
    if "systemd-python" in backend:
        yield Check("journal", Status.OK, backend)
    else:
        fix = "none needed; for the C library install libsystemd-dev, pkg-config and gcc, and run setup again"
        yield Check("journal", Status.OK, f"{backend} (systemd-python is not installed)", fix)


def configuration() -> Iterator[Check]:
    """Whether the configuration is without mistakes."""
    from repairlab import config

    resolution = config.resolve()
    for problem in resolution.problems:
        yield Check("config", Status.FAIL, f"{problem.field}: {problem.message}", problem.fix)
    for warning in resolution.warnings:
        yield Check("config", Status.WARN, f"{warning.field}: {warning.message}", warning.fix)
    if not resolution.problems and not resolution.warnings:
        read = ", ".join(str(path) for path in resolution.files) or "no file, so the defaults are in force"
        yield Check("config", Status.OK, read)


def sandboxes(app: App) -> Iterator[Check]:
    """Start every tier; where the one that jobs would get does not work, nothing untrusted will run."""
    from repairlab.sandbox import open_sandbox, probe

    settings = app.settings.sandbox
    try:
        used = open_sandbox(settings).tier.removesuffix("-user")
    except Unavailable:
        used = ""  # none at all
    for report in probe(settings):
        if report.tier == "none":
            if used == "none":
                fix = 'set tier = "auto" in [sandbox]'
                yield Check("sandbox", Status.WARN, "untrusted code runs UNCONFINED, with your rights", fix)
        elif report.ok:
            yield Check("sandbox", Status.OK, f"{report.tier}: {report.why}", "")
        elif used in ("", report.tier):
            yield Check("sandbox", Status.FAIL, f"{report.tier}: {report.why}", report.fix)
        else:
            yield Check("sandbox", Status.OK, f"{report.tier}: not here, {report.why}; {used} serves", report.fix)
