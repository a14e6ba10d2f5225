"""completion: `repairlab completion SHELL`: print the script that teaches a shell our commands, options and job ids.

repairlab completion bash > /etc/bash_completion.d/repairlab

The other programs have options alone, which stand in the script as words. A shell that looks for the completion of a
program under its name finds the same script there by a link (deploy/install).
"""

import importlib
from collections.abc import Iterator, Mapping

import click
from click.shell_completion import get_completion_class

from repairlab.operate.app import Answer, App, command

AUTOLOADED = '    _repairlab_completion "$@"\n'  # of click's script for zsh: what an autoloaded file does
Options = Mapping[str, list[str]]


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(_app: App, shell: str) -> Answer:
    """Print the completion script of a shell.

    Evaluate it in your shell's start file: eval "$(repairlab completion bash)".
    """
    from repairlab.operate.main import cli

    found = get_completion_class(shell)
    assert found is not None, shell  # click ships all three
    completer = found(cli, {}, "repairlab", "_REPAIRLAB_COMPLETE")
    # Not completer.source(): for bash that starts a bash, only to ask its version.
    script = completer.source_template % completer.source_vars()
    others = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](script, _options())
    return Answer(data={"shell": shell, "script": others}, text=[others])


def _options() -> Options:
    """Return the options of every program but `repairlab`, from their own command lines."""
    from repairlab.operate.cleanup import cleanup_command
    from repairlab.operate.man import PROGRAMS

    parameters = cleanup_command.get_params(click.Context(cleanup_command))
    found = {"repairlab-cleanup": [name for parameter in parameters for name in parameter.opts]}
    for program, (where, _) in PROGRAMS.items():
        module, _, function = where.partition(":")
        actions = getattr(importlib.import_module(module), function)()._actions
        found[program] = [name for action in actions for name in action.option_strings]
    return {program: sorted(name for name in names if name.startswith("--")) for program, names in found.items()}


def _bash(script: str, options: Options) -> str:
    lines = (f"complete -o default -W '{' '.join(names)}' {name}" for name, names in options.items())
    return "\n".join([script, *lines])


def _zsh(script: str, options: Options) -> str:
    """An autoloaded file is the function of all programs that its first line names."""
    head, dispatch = f"#compdef repairlab {' '.join(options)}", '    _repairlab_dispatch "$@"\n'
    assert script.startswith("#compdef repairlab\n")
    assert AUTOLOADED in script
    cases = (f"        {name}) _arguments {' '.join(names)} '*:file:_files' ;;" for name, names in options.items())
    function = ["_repairlab_dispatch() {", "    case $service in", *cases, "        *) _repairlab_completion ;;"]
    function += ["    esac", "}", ""]
    body = script.removeprefix("#compdef repairlab\n").replace(AUTOLOADED, dispatch)
    registered = "    compdef _repairlab_completion repairlab\n"
    assert registered in body
    body = body.replace(registered, f"    compdef _repairlab_dispatch repairlab {' '.join(options)}\n")
    return "\n".join([head, "", *function, body.lstrip("\n")])


def _fish(script: str, options: Options) -> str:
    return "\n".join([script, *_fish_lines(options)])


def _fish_lines(options: Options) -> Iterator[str]:
    for program, names in options.items():
        yield from (f"complete --command {program} --long-option {name.removeprefix('--')}" for name in names)
