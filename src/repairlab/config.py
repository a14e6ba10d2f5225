"""config: where RepairLab keeps its state, and every setting with its default, bounds and origin.

Files, later ones win over earlier ones, key by key:

    /etc/repairlab/config.toml
    $XDG_CONFIG_HOME/repairlab/config.toml   (not for root nor the service user)
    $REPAIRLAB_CONFIG                        (must exist when set)

and over all of them the environment: REPAIRLAB_<SECTION>_<KEY>, a TOML value (REPAIRLAB_QUEUE_FAILURES=5,
REPAIRLAB_WATCHER_AGENT='["/usr/bin/agent"]'; a text needs no quotes). A missing file is no error; an unknown section,
an unknown key, a wrong type, a value out of bounds or two values that contradict each other is: `ConfigError` names
the file, the line, the key and the fix. `load` raises the first, `resolve` collects all of them.

The state lives under `root()`: $REPAIRLAB_ROOT, else $STATE_DIRECTORY (set by systemd), else /var/lib/repairlab for
root and the user repairlab, else $XDG_STATE_HOME/repairlab.
"""

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from repairlab.errors import ConfigError

SYSTEM_ROOT = Path("/var/lib/repairlab")
SYSTEM_FILE = Path("/etc/repairlab/config.toml")
SERVICE_USER = "repairlab"
PREFIX = "REPAIRLAB_"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the sections: every field's `Meta` carries its bounds and the sentence that explains it."""


def _describe(text: str, **bounds: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **bounds)


class Queue(Section, frozen=True, kw_only=True):
    """When a job is tried again, and when it has failed for good."""

    failures: Annotated[int, _describe("failures within the window that end in hard_fail", ge=1, le=1000)] = 3
    window_s: Annotated[float, _describe("length of the sliding window of failures", gt=0, le=3.2e7)] = 600.0
    crashes: Annotated[int, _describe("worker crashes within the window that end in hard_fail", ge=1, le=1000)] = 3
    orphans: Annotated[
        int, _describe("recoveries from a dead owner within the window that end in hard_fail", ge=1, le=1000)
    ] = 10
    max_attempts: Annotated[int, _describe("counted attempts in a job's whole life", ge=1, le=10000)] = 6
    backoff_base_s: Annotated[float, _describe("first pause after a failure (full jitter)", gt=0, le=86400)] = 10.0
    backoff_cap_s: Annotated[float, _describe("longest pause after a failure", gt=0, le=604800)] = 120.0
    rescan_s: Annotated[float, _describe("pause between two scans of the directory", ge=0.05, le=3600)] = 5.0
    settle_s: Annotated[
        float, _describe("how long an arrival that looks unfinished must rest before it is judged", ge=0, le=3600)
    ] = 2.0
    quota_waiting: Annotated[int, _describe("waiting jobs that one producer may have", ge=1, le=100_000_000)] = 200_000


class Watcher(Section, frozen=True, kw_only=True):
    """The queue watcher."""

    concurrency: Annotated[int, _describe("agents at a time; 0: one a core", ge=0, le=4096)] = 0
    per_lineage: Annotated[
        int, _describe("agents at a time for one lineage; 0: all but one while others wait", ge=0, le=4096)
    ] = 0
    grace_s: Annotated[float, _describe("how long running agents may finish after SIGTERM", ge=0, le=3600)] = 20.0
    agent: Annotated[list[str], _describe("command of another agent; empty: the built-in one, started warm")] = []
    min_free_mb: Annotated[int, _describe("free disk space below which nothing is claimed", ge=0, le=1 << 30)] = 64


class Agent(Section, frozen=True, kw_only=True):
    """One attempt at a repair; a handoff's own `limits` win within these bounds."""

    wall_s: Annotated[float, _describe("wall time of one attempt", gt=0, le=86400)] = 120.0
    memory_mb: Annotated[int, _describe("memory of the code under repair", ge=64, le=1 << 20)] = 1024
    seed: Annotated[int, _describe("seed of the search; the same seed finds the same patches", ge=0, le=1 << 53)] = 0


class SandboxSection(Section, frozen=True, kw_only=True):
    """What untrusted code runs in."""

    tier: Annotated[
        str,
        _describe(
            'auto, bubblewrap or none; "none" runs untrusted code UNCONFINED, with your rights',
            pattern="^(auto|bubblewrap|none)$",
        ),
    ] = "auto"
    memory_mb: Annotated[int, _describe("address space of each process", ge=64, le=1 << 20)] = 1024
    processes: Annotated[int, _describe("processes and threads", ge=1, le=32768)] = 64
    tmpfs_mb: Annotated[int, _describe("size of its work directory, kept in memory", ge=1, le=1 << 20)] = 256
    open_files: Annotated[int, _describe("descriptors of each process", ge=16, le=1 << 20)] = 256
    file_mb: Annotated[int, _describe("size of one file", ge=1, le=1 << 20)] = 64


class Bundles(Section, frozen=True, kw_only=True):
    """Where bundles may come from, and how large they may be."""

    roots: Annotated[
        list[str], _describe("absolute directories that bundle_dir may lie in; empty: bundles/ of the state directory")
    ] = []
    max_files: Annotated[int, _describe("files of one bundle", ge=1, le=10_000_000)] = 20_000
    max_bytes: Annotated[int, _describe("bytes of one bundle", ge=1, le=1 << 40)] = 256 << 20


class Cleanup(Section, frozen=True, kw_only=True):
    """How long finished things are kept; what is live, held, promoted or referenced is never removed."""

    challengers_days: Annotated[float, _describe("challengers", ge=0, le=36500)] = 7.0
    processed_days: Annotated[
        float, _describe("finished jobs, counted from the instant they ended", ge=0, le=36500)
    ] = 7.0
    bundles_days: Annotated[float, _describe("bundles and snapshots that nothing refers to", ge=0, le=36500)] = 7.0
    work_days: Annotated[float, _describe("work directories and staging files left behind", ge=0, le=36500)] = 7.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `Settings()` is the defaults."""

    queue: Queue = Queue()
    watcher: Watcher = Watcher()
    agent: Agent = Agent()
    sandbox: SandboxSection = SandboxSection()
    bundles: Bundles = Bundles()
    cleanup: Cleanup = Cleanup()


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: `kind` is default, file or environment; `where` the file:line or the variable."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


class Resolution(msgspec.Struct, frozen=True):
    """The settings in force, the origin of each `section.key`, and what is wrong (its key then has its default)."""

    settings: Settings
    origins: dict[str, Origin]
    problems: list[ConfigError]
    files: list[Path]


def system_mode() -> bool:
    """Whether this process serves the machine (root, or the service's user) and not one person."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a uid without a name: a container, or systemd's DynamicUser
        name = ""
    return os.geteuid() == 0 or name == SERVICE_USER


def root(environ: Mapping[str, str] | None = None) -> Path:
    """Return the absolute state directory; it need not exist."""
    environ = os.environ if environ is None else environ
    if explicit := environ.get("REPAIRLAB_ROOT"):
        return Path(explicit).absolute()
    if states := environ.get("STATE_DIRECTORY"):
        return Path(states.split(":")[0])
    return SYSTEM_ROOT if system_mode() else _xdg(environ, "XDG_STATE_HOME", ".local/state") / "repairlab"


def queue_dir(at: Path) -> Path:
    """Return the repair queue of the state directory `at`."""
    return at / "spool" / "repair"


def challengers_dir(at: Path) -> Path:
    """Return the challengers' queue of the state directory `at`."""
    return at / "spool" / "challengers"


def bundles_dir(at: Path) -> Path:
    """Return the bundle store of the state directory `at`."""
    return at / "bundles"


def bundle_roots(settings: Settings, at: Path) -> list[Path]:
    """Return the directories that a `bundle_dir` may lie in."""
    return [Path(item) for item in settings.bundles.roots] or [bundles_dir(at)]


def _xdg(environ: Mapping[str, str], name: str, default: str) -> Path:
    value = environ.get(name, "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return Path(value) if value.startswith("/") else Path(environ.get("HOME") or Path.home()) / default


def user_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the file that `repairlab config init` writes for this user."""
    environ = os.environ if environ is None else environ
    return SYSTEM_FILE if system_mode() else _xdg(environ, "XDG_CONFIG_HOME", ".config") / "repairlab" / "config.toml"


def files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the configuration files in the order in which they are read, whether they exist or not."""
    environ = os.environ if environ is None else environ
    found = [SYSTEM_FILE]
    if not system_mode():
        found.append(user_file(environ))
    if explicit := environ.get("REPAIRLAB_CONFIG"):
        found.append(Path(explicit).absolute())
    return found


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force; raise the first `ConfigError`."""
    resolution = resolve(environ)
    if resolution.problems:
        raise resolution.problems[0]
    return resolution.settings


def origins(environ: Mapping[str, str] | None = None) -> dict[str, Origin]:
    """Return the origin of every `section.key`."""
    return resolve(environ).origins


def resolve(environ: Mapping[str, str] | None = None) -> Resolution:
    """Read every source; never raise for what they say, but list it in `problems`."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    found: dict[str, Origin] = {name: Origin("default") for name in keys()}
    problems: list[ConfigError] = []
    explicit = environ.get("REPAIRLAB_CONFIG")
    read = []
    for path in files(environ):
        try:
            text = _read(path, required=bool(explicit) and path == Path(str(explicit)).absolute())
            if text is None:
                continue
            read.append(path)
            for name, value, line in _entries(text, path):
                _take(values, found, problems, name, value, Origin("file", f"{path}:{line}"))
        except ConfigError as error:
            problems.append(error)
    for name, value, variable in _from_environment(environ, problems):
        _take(values, found, problems, name, value, Origin("environment", f"${variable}"))
    settings = _build(values)
    problems.extend(_contradictions(settings, found))
    return Resolution(settings, found, problems, read)


def keys() -> dict[str, msgspec.structs.FieldInfo]:
    """Return every `section.key` with its field (type, bounds, description, default), in the order of the file."""
    return {
        f"{section.name}.{field.name}": field
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    }


def _read(path: Path, *, required: bool) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path} does not exist", field="$REPAIRLAB_CONFIG", fix="unset it or write it") from None
        return None
    except NotADirectoryError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read it: {error}", field=str(path), fix="make it readable UTF-8 text") from None


def _entries(text: str, path: Path) -> Iterator[tuple[str, Any, int]]:
    """Yield every `section.key` of a file with its value and line."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError(f"not TOML: {error}", field=where, fix="see `repairlab config init --print`") from None
    for section, entries in document.items():
        if not isinstance(entries, dict):
            yield section, entries, _line(text, "", section)
            continue
        for key, value in entries.items():
            yield f"{section}.{key}", value, _line(text, section, key)
        if not entries and section not in Settings.__struct_fields__:
            yield f"{section}.", None, _line(text, section, "")


def _line(text: str, section: str, key: str) -> int:
    """Return the line of `key` in `section`, of the section's header, or 1 where the writing is too clever to find."""
    current, header = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*\"?([\w.-]+?)\"?\s*\]", line):
            current = match[1]
            header = number if current == section else header
        if key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", line) and current == section:
            return number
        if key and re.match(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(key)}\s*=", line) and not current:
            return number
    return header


def _from_environment(environ: Mapping[str, str], problems: list[ConfigError]) -> Iterator[tuple[str, Any, str]]:
    sections = Settings.__struct_fields__
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if section not in sections or not key:
            continue
        try:
            yield f"{section}.{key}", _environment_value(f"{section}.{key}", environ[variable]), variable
        except ConfigError as error:
            problems.append(ConfigError(error.message, field=f"${variable}", fix=error.fix))


def _environment_value(name: str, text: str) -> Any:
    import tomllib

    field = keys().get(name)
    if field is None or _json_type(field) == "string":
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{text!r} is not a TOML value", fix=_fix(name, field)) from None


def _take(
    values: dict[str, Any],
    found: dict[str, Origin],
    problems: list[ConfigError],
    name: str,
    value: Any,
    origin: Origin,
) -> None:
    """Put one value into force, or say what is wrong with it."""
    field = keys().get(name)
    if field is None:
        problems.append(ConfigError(f"unknown setting {name.rstrip('.')}", field=str(origin), fix=_nearest(name)))
        return
    try:
        values[name] = msgspec.convert(value, field.type, strict=True)
        found[name] = origin
    except msgspec.ValidationError as error:
        message = str(error).split(" - at `")[0]
        problems.append(ConfigError(f"{name} = {value!r}: {message}", field=str(origin), fix=_fix(name, field)))


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, keys(), n=1)
    if not close and (same := [known for known in keys() if known.partition(".")[2] == name.rpartition(".")[2]]):
        close = same[:1]
    return f"did you mean {close[0]}?" if close else "`repairlab config show` lists all settings"


def _json_type(field: msgspec.structs.FieldInfo) -> str:
    return str(msgspec.json.schema(field.type).get("type", ""))


def _fix(name: str, field: msgspec.structs.FieldInfo) -> str:
    """The type and bounds that a value must have, with the default as example."""
    schema = msgspec.json.schema(field.type)
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "pattern": "matching"}
    told = [f"{word} {schema[key]}" for key, word in bounds.items() if key in schema]
    return (
        f"write a {schema.get('type')}{' ' if told else ''}{', '.join(told)}, for example {toml(name, field.default)}"
    )


def toml(name: str, value: Any) -> str:
    """Return `key = value` as a line of TOML."""
    return f"{name.partition('.')[2]} = {msgspec.json.encode(value).decode()}"


def _build(values: dict[str, Any]) -> Settings:
    sections: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{field.name}.")}
        sections[field.name] = field.type(**own)
    return Settings(**sections)


def _contradictions(settings: Settings, found: Mapping[str, Origin]) -> Iterator[ConfigError]:
    queue = settings.queue
    if queue.backoff_cap_s < queue.backoff_base_s:
        yield ConfigError(
            f"queue.backoff_cap_s = {queue.backoff_cap_s} is below queue.backoff_base_s = {queue.backoff_base_s}",
            field=str(found["queue.backoff_cap_s"]),
            fix=f"raise it to at least {queue.backoff_base_s}",
        )
    if queue.max_attempts < queue.failures:
        yield ConfigError(
            f"queue.max_attempts = {queue.max_attempts} is below queue.failures = {queue.failures}",
            field=str(found["queue.max_attempts"]),
            fix=f"raise it to at least {queue.failures}",
        )
    for item in settings.bundles.roots:
        if not item.startswith("/"):
            yield ConfigError(
                f"bundles.roots: {item!r} is not absolute", field=str(found["bundles.roots"]), fix="write it from / on"
            )
