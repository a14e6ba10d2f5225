"""loading: the settings in force, from files and environment, each with its origin, or what is wrong with them.

Every value is checked by itself, so that a problem names its own file, line and key, and one bad line does not hide
another. A key whose value is refused keeps the value of the source before it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from repairlab.config import places
from repairlab.config.settings import Settings, default, describe, names, toml
from repairlab.errors import ConfigError

PREFIX = "REPAIRLAB_"
NOT_SETTINGS = frozenset({"REPAIRLAB_ROOT", "REPAIRLAB_CONFIG", "REPAIRLAB_BOOT_ID"})


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: `kind` is default, file or environment; `where` the file:line or the variable."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


class Resolution(msgspec.Struct, frozen=True):
    """The settings in force, the origin of each `section.key`, the files read, what is wrong and what is odd."""

    settings: Settings
    origins: dict[str, Origin]
    files: list[Path]
    problems: list[ConfigError]
    warnings: list[ConfigError]


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force; raise the first `ConfigError`, which says how many more there are."""
    resolution = resolve(environ)
    if not resolution.problems:
        return resolution.settings
    first, more = resolution.problems[0], len(resolution.problems) - 1
    rest = f" (and {more} more: see `repairlab config check`)" if more else ""
    raise ConfigError(first.message, field=first.field, fix=first.fix + rest)


def origins(environ: Mapping[str, str] | None = None) -> dict[str, Origin]:
    """Return the origin of every `section.key`."""
    return resolve(environ).origins


def resolve(environ: Mapping[str, str] | None = None) -> Resolution:
    """Read every source; never raise for what it says, but list that in `problems`."""
    reading = _Reading(os.environ if environ is None else environ)
    reading.read_files()
    reading.read_environment()
    settings = _build(reading.values)
    reading.problems.extend(_contradictions(settings, reading.origins))
    return Resolution(settings, reading.origins, reading.files, reading.problems, reading.warnings)


class _Reading:
    """What has been read so far."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.values: dict[str, Any] = {}
        self.origins = {name: Origin("default") for name in names()}
        self.files: list[Path] = []
        self.problems: list[ConfigError] = []
        self.warnings: list[ConfigError] = []

    def read_files(self) -> None:
        explicit = self.environ.get("REPAIRLAB_CONFIG")
        for path in places.files(self.environ):
            try:
                text = _text(path, required=explicit is not None and path == Path(explicit).absolute())
                if text is not None:
                    self.files.append(path)
                    for name, value, line in _entries(text, path):
                        self.take(name, value, Origin("file", f"{path}:{line}"))
            except ConfigError as error:
                self.problems.append(error)

    def read_environment(self) -> None:
        for variable in sorted(set(self.environ) - NOT_SETTINGS):
            if not variable.startswith(PREFIX):
                continue
            section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
            origin = Origin("environment", f"${variable}")
            if section not in Settings.__struct_fields__:
                self.warnings.append(ConfigError("not a setting", field=str(origin), fix=_nearest(f"{section}.{key}")))
                continue
            try:
                self.take(f"{section}.{key}", _from_text(f"{section}.{key}", self.environ[variable]), origin)
            except ConfigError as error:
                self.problems.append(ConfigError(error.message, field=str(origin), fix=error.fix))

    def take(self, name: str, value: Any, origin: Origin) -> None:
        """Put one value into force, or note what is wrong with it."""
        if name not in self.origins:
            error = ConfigError(f"unknown setting {name}", field=str(origin), fix=_nearest(name))
            self.problems.append(error)
            return
        try:
            self.values[name] = msgspec.convert(value, names()[name].type, strict=True)
            self.origins[name] = origin
        except msgspec.ValidationError as error:
            told = str(error).split(" - at `")[0]
            self.problems.append(ConfigError(f"{name} = {value!r}: {told}", field=str(origin), fix=_fix(name)))


def _text(path: Path, *, required: bool) -> str | None:
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if not required:
            return None
        raise ConfigError(f"{path} does not exist", field="$REPAIRLAB_CONFIG", fix="write it or unset this") from None
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
        raise ConfigError(f"not TOML: {error}", field=where, fix="compare `repairlab config init --print`") from None
    for section, entries in document.items():
        if not isinstance(entries, dict) or (not entries and section not in Settings.__struct_fields__):
            yield section, entries, _line(text, "" if not isinstance(entries, dict) else section, section)
            continue
        for key, value in entries.items():
            yield f"{section}.{key}", value, _line(text, section, key)


def _line(text: str, section: str, key: str) -> int:
    """Return the line of `key` in `section`, else of the section's header, else 1 (inline tables and the like)."""
    dotted = re.compile(rf"\s*{re.escape(section)}\s*\.\s*{re.escape(key)}\s*=")
    plain = re.compile(rf"\s*\"?{re.escape(key)}\"?\s*[=.]")
    current, header = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*\"?([\w-]+)\"?\s*\]", line):
            current = match[1]
            header = number if current == section else header
        elif (current == section and plain.match(line)) or (not current and dotted.match(line)):
            return number
    return header


def _from_text(name: str, text: str) -> Any:
    """Read the value of an environment variable: a text as it stands, anything else as TOML."""
    import tomllib

    if name not in names() or describe(name)[1].get("type") == "string":
        return text
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    if document.keys() != {"value"}:
        raise ConfigError(f"{text!r} is not a TOML value", fix=_fix(name))
    return document["value"]


def _nearest(name: str) -> str:
    import difflib

    key = name.rpartition(".")[2]
    close = difflib.get_close_matches(name, names(), n=1) or [known for known in names() if known.endswith(f".{key}")]
    return f"did you mean {close[0]}?" if close else "`repairlab config show` lists all settings"


def _fix(name: str) -> str:
    """The type and bounds that a value must have, with the default as example."""
    schema = describe(name)[1]
    if pattern := schema.get("pattern"):  # the only patterns are lists of words
        return f"write one of {pattern.strip('^()$').replace('|', ', ')}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    told = ", ".join(f"{word} {schema[key]}" for key, word in words.items() if key in schema)
    return f"write {_article(schema)}{' ' + told if told else ''}, for example {toml(name, default(name))}"


def _article(schema: dict[str, Any]) -> str:
    kinds = {"integer": "a whole number", "number": "a number", "string": "a text", "array": "a list of texts"}
    return kinds[schema["type"]]


def _build(values: Mapping[str, Any]) -> Settings:
    sections: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        prefix = f"{field.name}."
        own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        sections[field.name] = field.type(**own)
    return Settings(**sections)


def _contradictions(settings: Settings, found: Mapping[str, Origin]) -> Iterator[ConfigError]:
    queue = settings.queue
    for high, low in (("backoff_cap_s", "backoff_base_s"), ("max_attempts", "failures"), ("max_orphans", "orphans")):
        top, bottom = getattr(queue, high), getattr(queue, low)
        if top < bottom:
            where = found[f"queue.{high}"] if found[f"queue.{high}"].kind != "default" else found[f"queue.{low}"]
            message = f"queue.{high} = {top} is below queue.{low} = {bottom}"
            yield ConfigError(message, field=str(where), fix=f"write {high} = {bottom} or more")
    for item in settings.bundles.roots:
        if not item.startswith("/"):
            where = found["bundles.roots"]
            yield ConfigError(f"bundles.roots: {item!r} is not absolute", field=str(where), fix="write it from / on")
