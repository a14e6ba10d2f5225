"""configuring: `repairlab config init | check | show`: write the commented file, find mistakes, say what is in force.

`init` writes what it writes atomically and never over an existing file unless told --force.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from repairlab import config
from repairlab.errors import ConfigError, UsageError
from repairlab.operate import output
from repairlab.operate.app import CONTEXT, Answer, App, command


@click.group("config", context_settings=CONTEXT, invoke_without_command=True)
@click.pass_context
def config_command(context: click.Context) -> None:
    """Write, check and show the configuration.

    Read in this order, later ones win key by key: /etc/repairlab/config.toml, $XDG_CONFIG_HOME/repairlab/config.toml
    (not for root), $REPAIRLAB_CONFIG, and the environment's REPAIRLAB_<SECTION>_<KEY>.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@command("config init", group=config_command)
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--print", "to_stdout", is_flag=True, help="Print it instead of writing a file.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(_app: App, path: Path | None, to_stdout: bool, force: bool) -> Answer:
    """Write a file with every setting, commented out at its default."""
    text = config.template()
    if to_stdout:
        return Answer(data={"text": text}, text=text.splitlines())
    path = path or config.user_file()
    if path.exists() and not force:
        raise UsageError(f"{path} exists", fix="edit it, or replace it with --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text)
    return Answer(data={"path": path}, text=[str(path)])


def _write(path: Path, text: str) -> None:
    """Replace `path` by one rename, so that a reader never sees half of it."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        try:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


@command("config check", group=config_command)
def check(_app: App) -> Answer:
    """Find every mistake: exit 0 if there is none, 78 if there are any."""
    resolution = config.resolve()
    data: dict[str, Any] = {
        "files": resolution.files,
        "problems": [output.error_object(problem) for problem in resolution.problems],
        "warnings": [output.error_object(warning) for warning in resolution.warnings],
    }
    return Answer(data=data, text=_findings(resolution), error=_verdict(resolution))


def _findings(resolution: config.Resolution) -> Iterator[str]:
    for problem in resolution.problems:
        yield f"{output.paint('error', 'red')}: {output.line(str(problem))}"
    for warning in resolution.warnings:
        yield f"{output.paint('warning', 'yellow')}: {output.line(str(warning))}"
    if not resolution.problems:
        read = ", ".join(str(path) for path in resolution.files) or "no file, so the defaults"
        yield f"{output.paint('ok', 'green')}: {read}"


def _verdict(resolution: config.Resolution) -> ConfigError | None:
    if not resolution.problems:
        return None
    return ConfigError(f"{output.plural(len(resolution.problems), 'mistake')} in the configuration")


@command("config show", group=config_command)
@click.argument("key", required=False)
@click.option("--origin", is_flag=True, help="Say which file, line or variable each value comes from.")
def show(_app: App, key: str | None, origin: bool) -> Answer:
    """Print the settings in force.

    One a line: key, value, and with --origin where the value comes from.
    """
    resolution = config.resolve()
    names = [name for name in config.names() if key is None or name == key or name.startswith(f"{key}.")]
    if not names:
        raise UsageError(f"there is no setting {key!r}", fix="`repairlab config show` lists all")
    found = {name: _entry(resolution, name) for name in names}
    for problem in resolution.problems:
        output.say(f"repairlab: {problem}")
    return Answer(data=found, text=_lines(found, origin), error=_verdict(resolution))


def _entry(resolution: config.Resolution, name: str) -> dict[str, Any]:
    section, _, key = name.partition(".")
    where = resolution.origins[name]
    value = getattr(getattr(resolution.settings, section), key)
    return {"value": value, "default": config.default(name), "origin": where.kind, "where": where.where or None}


def _lines(found: dict[str, dict[str, Any]], origin: bool) -> Iterator[str]:
    def row(name: str, entry: dict[str, Any]) -> list[str]:
        value = config.toml(name, entry["value"]).partition(" = ")[2]
        return [name, value, entry["where"] or entry["origin"]][: 3 if origin else 2]

    return output.table(["KEY", "VALUE", "ORIGIN"][: 3 if origin else 2], (row(*item) for item in found.items()))
