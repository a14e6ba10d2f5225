"""main: `repairlab`, the operator's command.

    repairlab [--root DIR] [--json] COMMAND …

Commands are modules that are imported when they are called, so that --help and status feel instant. Whatever happens,
--json prints exactly one envelope on stdout ({"schema", "ok", "data", "error"}; `follow` prints one a line), and
errors are also told on stderr. Exit codes are those of sysexits.h; 1 is the honest negative answer.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import click

from repairlab.errors import UsageError
from repairlab.operate.app import CONTEXT, App, run, version_option

# The sections of --help. name: (module, promise); a test holds the promises against the commands' own.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Jobs": {
        "submit": ("submit", "Hand in failing code to be repaired, or the spec of a tool."),
        "status": ("listing", "Say how many jobs are where, and what is wrong."),
        "list": ("listing", "List jobs, one a line."),
        "show": ("show", "Show jobs: attempts, telemetry, patch, reason."),
        "wait": ("waiting", "Wait until jobs have ended."),
        "follow": ("waiting", "Print every move of every job as it happens."),
        "shape": ("shape", "Count unfinished and failed jobs by class and age."),
    },
    "A job's fate": {
        "hold": ("fate", "Park waiting or deferred jobs until they are released."),
        "release": ("fate", "Let held jobs run again, at once."),
        "retry": ("fate", "Run ended or deferred jobs again at once, their failures forgiven."),
        "drop": ("fate", "Remove jobs for good."),
    },
    "The tournament": {
        "leaderboard": (
            "leaderboard",
            "Rank lineages, strategies, patterns or specs by their evaluations.",
        ),
        "demote": ("demote", "Take the champion of a lineage back, so that the one before it stands again."),
        "verify-chain": (
            "verifying",
            "Verify where a champion comes from, link by link.",
        ),
        "analytics": ("analytics", "Say how well repairs go: success, strategies, attempts, time, quarantine."),
    },
    "The machine": {
        "config": ("configuring", "Write, check and show the configuration."),
        "doctor": ("doctor", "Check what RepairLab needs, and say how to mend it."),
        "fsck": ("fsck", "Prove that every job is in exactly one place."),
        "install": ("installing", "Install units for your own service manager."),
        "demo": ("demo", "Repair a real failing project before your eyes."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
EPILOG = """\
Exit codes: 0 done, 1 no (not repaired, findings), 64 usage, 65 bad input, 69 something needed is not there,
70 our bug, 75 try again later, 77 permission, 78 configuration.
"""


class Lazy(click.Group):
    """A group whose commands are imported when they are called, and listed without that."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order of the sections."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"repairlab.operate.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was perhaps meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            fix = f"did you mean `{close[0]}`?" if close else "see `repairlab --help`"
            raise UsageError(f"there is no command {args[0]!r}", fix=fix)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the sections from the table alone."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, promise) for name, (_, promise) in commands.items()])


@click.group(
    cls=Lazy,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings=CONTEXT,
)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="State directory instead of $REPAIRLAB_ROOT or the default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; may follow the command too.")
@version_option()
@click.pass_context
def cli(context: click.Context, root: Path | None, as_json: bool) -> None:
    """Repair failing Python code unattended: hand it in, and read the verified patch later."""
    if root is not None:
        os.environ["REPAIRLAB_ROOT"] = str(root.absolute())  # what this starts works on the same directory
    context.obj = App(of_person=True)
    context.obj.json = as_json
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    if "_REPAIRLAB_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "repairlab", "_REPAIRLAB_COMPLETE", os.environ["_REPAIRLAB_COMPLETE"])
    return run(cli, "repairlab", _named(argv), argv)


def _named(argv: Sequence[str]) -> str:
    """The command of a command line, also of one that will not get as far as to run it."""
    words = [word for word in argv if not word.startswith("-")]
    found = next((word for word in words if word in COMMANDS), "repairlab")
    after = words[words.index(found) + 1 :] if found == "config" else []
    return f"config-{after[0]}" if after and after[0] in {"init", "check", "show"} else found
