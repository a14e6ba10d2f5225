"""completion: `repairlab completion SHELL`: print the script that teaches a shell our commands, options and job ids.

repairlab completion bash > /etc/bash_completion.d/repairlab
"""

import click
from click.shell_completion import get_completion_class

from repairlab.operate.app import Answer, App, command


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
    return Answer(data={"shell": shell, "script": script}, text=[script])
