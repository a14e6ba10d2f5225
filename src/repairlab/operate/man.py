"""man: write the manual pages, from the programs' own command lines and docstrings.

    python -m repairlab.operate.man DIRECTORY

`pages` returns file name → text; the committed ones are in docs/man, and a test keeps them in step. What a command
takes comes from its parser, what it promises from its help, what it touches from the head of its module: nothing is
written twice. The other programs are named as strings: this package may not know them, and needs them only here.
"""

import argparse
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

# program: (its parser, the sentence of the NAME section)
PROGRAMS = {
    "repairlab-queue-watcher": ("repairlab.watch.main:parser", "serve the repair queue"),
    "repairlab-evaluator": ("repairlab.evaluate.main:parser", "let challengers fight the champions of their lineages"),
    "repairlab-toolgen": ("repairlab.toolgen.main:parser", "make a tool of each spec"),
    "repairlab-auto-specder": ("repairlab.toolgen.specder:parser", "write specs where the tournament stands still"),
    "repairlab-library-extract": ("repairlab.evaluate.extract:parser", "mine champions for patterns"),
    "repairlab-agent": ("repairlab.repair.agent:parser", "one attempt at repairing one bundle"),
    "repairlab-failure": ("repairlab.supervise.failure:parser", "write down that a unit has failed"),
    "repairlab-sandbox": ("repairlab.sandbox.shim:parser", "keep the untrusted process of one sandbox"),
}
EXIT = [
    ("0", "done"),
    ("1", "the honest negative answer: not repaired, no patch, findings"),
    ("64", "wrong command line"),
    ("65", "bad input: it will not get better by trying again"),
    ("69", "something that is needed is not there: a queue, a sandbox, a watcher"),
    ("70", "a bug in RepairLab"),
    ("75", "trouble that passes: try again later"),
    ("77", "the operating system refused"),
    ("78", "the configuration is wrong"),
]
ENVIRONMENT = [
    ("REPAIRLAB_ROOT", "State directory."),
    ("REPAIRLAB_CONFIG", "Configuration file that wins over the others; it must exist."),
    ("REPAIRLAB_<SECTION>_<KEY>", "One setting, as a TOML value; wins over every file."),
    ("NO_COLOR", "Any value: no colours."),
]
FILES = [
    ("/var/lib/repairlab", "State directory of the system's service and of root."),
    ("$XDG_STATE_HOME/repairlab", "State directory of anybody else."),
    ("<root>/spool/repair", "The queue: handoff*.json is dropped here; the directory is the state."),
    ("/etc/repairlab/config.toml", "Configuration of the machine."),
    ("$XDG_CONFIG_HOME/repairlab/config.toml", "Configuration of one person."),
]
EXAMPLES = [
    ("repairlab submit ./project --wait", "Hand a project in and wait for what comes of it."),
    ("repairlab show 3f9a --diff | git apply", "Apply the patch of a job, named by the beginning of its id."),
    ("repairlab list hard_fail | repairlab retry -", "Try again whatever was given up."),
    ("repairlab list --json | jq -r '.data[] | select(.age_s > 3600) | .id'", "What has rested for an hour."),
]


def pages() -> dict[str, str]:
    """Return every page, file name → roff."""
    from repairlab.operate import cleanup
    from repairlab.operate.main import cli

    found = {
        "repairlab.1": _page("repairlab", "the operator's command line of RepairLab", _repairlab(cli)),
        "repairlab-cleanup.1": _page(
            "repairlab-cleanup", "remove what has been kept for long enough", _click_program(cleanup)
        ),
    }
    for name, (where, told) in PROGRAMS.items():
        module, _, function = where.partition(":")
        program = importlib.import_module(module)
        found[f"{name}.1"] = _page(name, told, _argparse_program(program, getattr(program, function)()))
    return found


def _page(name: str, told: str, body: Iterable[str]) -> str:
    head = [f'.TH "{name.upper()}" 1 "" "RepairLab" "RepairLab"']
    lines = [*head, ".SH NAME", f"{_text(name)} \\- {_text(told)}", *body, *_see_also(name)]
    return "\n".join(lines) + "\n"


def _see_also(name: str) -> Iterator[str]:
    others = sorted({"repairlab", "repairlab-cleanup", *PROGRAMS} - {name})
    yield ".SH SEE ALSO"
    yield ", ".join(f"\\fB{_text(other)}\\fR(1)" for other in others)


def _repairlab(cli: click.Group) -> Iterator[str]:
    from repairlab.operate.main import SECTIONS

    yield from _synopsis("repairlab [--root DIR] [--json] COMMAND ...")
    yield from _section("DESCRIPTION", _prose(cli.help or ""))
    yield from _prose(_paragraph(inspect.getdoc(importlib.import_module("repairlab.operate.main")) or "", 2))
    yield from _section("OPTIONS", _options(cli))
    for title, commands in SECTIONS.items():
        yield f".SH {title.upper()}"
        for name in commands:
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            yield from _command(command, name)
    yield from _tables(("EXIT STATUS", EXIT), ("CONFIGURATION", _settings()), ("ENVIRONMENT", ENVIRONMENT))
    yield from _tables(("FILES", FILES))
    yield ".SH EXAMPLES"
    for line, told in EXAMPLES:
        yield from (".TP", f"\\fB{_text(line)}\\fR", _text(told))


def _settings() -> list[tuple[str, str]]:
    """Every setting with its sentence and default, as `repairlab config init` writes them."""
    from repairlab import config

    entries = ((name, config.describe(name)[0], config.toml(name, config.default(name))) for name in config.names())
    return [(name, f"{told} ({default})") for name, told, default in entries]


def _command(command: click.Command, path: str) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    yield f".SS {_text(path)} {_text(usage)}"
    yield from _prose(inspect.cleandoc(command.help or ""))
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), child)
            assert found is not None
            yield from _command(found, f"{path} {child}")
    else:
        yield from _options(command)


def _options(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1] and not {"--json", "--help"} & set(parameter.opts):
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", _text(record[1]))


def _click_program(module: Any) -> Iterator[str]:
    command: click.Command = module.cleanup_command
    yield from _synopsis("repairlab-cleanup " + " ".join(_flags(command)))
    yield from _section("DESCRIPTION", _prose(inspect.cleandoc(command.help or "")))
    yield from _prose(_without_head(inspect.getdoc(module) or ""))
    yield from _section("OPTIONS", _options(command))
    yield ".TP"
    yield "\\fB\\-\\-json\\fR"
    yield "Print one JSON object."
    yield from _tables(("EXIT STATUS", EXIT), ("ENVIRONMENT", ENVIRONMENT))


def _flags(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and "--help" not in parameter.opts:
            yield f"[{record[0]}]"


def _argparse_program(module: Any, parser: argparse.ArgumentParser) -> Iterator[str]:
    usage = parser.format_usage().removeprefix("usage: ")
    yield from _synopsis(" ".join(usage.split()))
    yield from _section("DESCRIPTION", _prose(parser.description or ""))
    yield from _prose(_without_head(inspect.getdoc(module) or ""))
    if parser.epilog:
        yield from _prose(parser.epilog)
    yield ".SH OPTIONS"
    for action in parser._actions:
        flags = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
        told = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
        yield from (".TP", f"\\fB{_text(flags + value)}\\fR", _text(told))
    yield from _tables(("ENVIRONMENT", ENVIRONMENT[:3]))


def _synopsis(text: str) -> Iterator[str]:
    return _section("SYNOPSIS", iter((f"\\fB{_text(text)}\\fR",)))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from lines


def _tables(*sections: tuple[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    for title, entries in sections:
        yield f".SH {title}"
        for key, told in entries:
            yield from (".TP", f"\\fB{_text(key)}\\fR", _text(told))


def _without_head(doc: str) -> str:
    """Return a module's docstring without its first line and the usage below it, which the page says already."""
    paragraphs = doc.split("\n\n")[1:]
    return "\n\n".join(text for i, text in enumerate(paragraphs) if not (i == 0 and text.startswith("    ")))


def _paragraph(doc: str, index: int) -> str:
    return doc.split("\n\n")[index]


def _prose(text: str) -> Iterator[str]:
    """Yield paragraphs; indented ones as they stand."""
    for paragraph in text.split("\n\n"):
        if not paragraph.strip():
            continue
        if paragraph.startswith("    "):
            yield from (".PP", ".nf", ".RS 4", *map(_text, inspect.cleandoc(paragraph).split("\n")), ".RE", ".fi")
        else:
            yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Return text for roff: a backslash is itself, a dash one that can be copied, a leading dot or quote harmless."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return re.sub(r"^([.'])", r"\\&\1", escaped)


def main(argv: Sequence[str]) -> int:
    """Write the pages into a directory."""
    for name, text in pages().items():
        Path(argv[0]).mkdir(parents=True, exist_ok=True)
        Path(argv[0], name).write_text(text, encoding="utf-8")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
