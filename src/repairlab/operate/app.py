"""app: what all commands share: the root, the settings, the queues, ids from the command line or stdin, the envelope.

A command is a function from the `App` and its parameters to an `Answer`, decorated with `command`. The answer carries
the data (what --json prints) and the text (what a person reads, made only when it is wanted); its error, if any, is the
honest negative answer of a command that worked. A command that cannot work raises a `RepairLabError` instead.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repairlab.errors import Forbidden, RepairLabError, TemporaryFailure, UsageError
from repairlab.operate import output

if TYPE_CHECKING:
    from repairlab.config import Settings
    from repairlab.spool import Spool

QUEUES = {"repair": "handoff*.json", "challengers": "challenger_*.json", "specs": "spec*.json"}
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
TRANSIENT = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
TRANSIENT |= {errno.EIO, errno.EROFS}  # nobody's bug, and the spool calls them trouble that passes as well


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command found: `data` for programs, `text` (lines) for people, `error` where the answer is no."""

    data: Any = None
    text: Iterable[str] = ()
    error: RepairLabError | None = None


class App:
    """One invocation of the command line."""

    def __init__(self, root: Path | None = None, *, of_person: bool = False) -> None:
        self._root, self._of_person = root, of_person
        self.json = False

    @functools.cached_property
    def root(self) -> Path:
        """The state directory."""
        from repairlab import config

        return self._root or (config.of_person() if self._of_person else config.root())

    @property
    def guest(self) -> bool:
        """Whether the state directory was chosen for somebody who has none of his own and named none."""
        from repairlab import config

        return self._root is None and self.root != config.root()

    @functools.cached_property
    def settings(self) -> "Settings":
        """The settings in force; ConfigError if they are wrong."""
        from repairlab import config

        return config.load()

    def queue(self, name: str = "repair") -> "Spool":
        """Return a queue that exists; Unavailable if it does not."""
        from repairlab.errors import Unavailable

        spool = self.spool(name)
        if not spool.path.is_dir():
            fix = "hand something in with `repairlab submit`, or name another state directory with --root"
            raise Unavailable(f"there is no queue at {spool.path}", fix=fix)
        return spool

    def spool(self, name: str = "repair") -> "Spool":
        """Return a queue whether it exists or not."""
        from repairlab.spool import Policy, Spool

        policy = Policy.from_settings(self.settings.queue)
        return Spool(self.root / "spool" / name, pattern=QUEUES[name], policy=policy)

    def show(self, name: str, answer: Answer) -> int:
        """Print an answer, as its envelope or as text; return the exit code."""
        if self.json:
            print(output.envelope(name, answer.data, answer.error), flush=True)
        else:
            for line in answer.text:
                print(line)
            sys.stdout.flush()
        if answer.error is not None:
            output.say(f"repairlab: {answer.error}")
            return answer.error.exit_code
        return os.EX_OK


def command(
    name: str, *, group: click.Group | None = None, **extra: Any
) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a command of a function `(app, **parameters) -> Answer`; `--json` is added to its options."""

    def decorate(function: Callable[..., Answer]) -> click.Command:
        @functools.wraps(function)
        def call(**parameters: Any) -> int:
            app = click.get_current_context().find_object(App) or App()
            app.json = parameters.pop("as_json") or app.json
            return app.show(name.replace(" ", "-"), function(app, **parameters))

        with_json: Any = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
        make: Any = click.command(name.rsplit(maxsplit=1)[-1], context_settings=CONTEXT, **extra)
        made: click.Command = make(with_json(call))
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def version_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option --version of a program."""

    def told(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from repairlab.commandline import version

            print(f"{context.info_name} {version()}")
            context.exit()

    named: Any = {"is_flag": True, "is_eager": True, "expose_value": False, "callback": told}
    return click.option("--version", help="Print the version.", **named)


def ids_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument ID..., completed by the shell from the queue."""
    return click.argument("ids", metavar="ID...", nargs=-1, required=required, shell_complete=_complete_id)


def queue_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option --queue."""
    return click.option(
        "--queue",
        type=click.Choice(list(QUEUES)),
        default="repair",
        show_default=True,
        help="The queue to work on.",
    )


def _complete_id(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids that begin with what has been typed; silent about every trouble, because a shell is waiting."""
    try:
        app = context.find_object(App) or App(of_person=True)
        queue = app.queue(context.params.get("queue") or "repair")
        found = (job.id for job in queue.jobs() if job.id.startswith(incomplete))
        return [job_id for job_id, _ in zip(found, range(200), strict=False)]
    except Exception:
        return []


def read_ids(given: Iterable[str]) -> list[str]:
    """Return the ids, once each and in order; `-` stands for the first word of every line of stdin."""
    found: dict[str, None] = {}
    for item in given:
        words = (line.split()[0] for line in sys.stdin if line.strip()) if item == "-" else (item,)
        found.update(dict.fromkeys(words))
    if not found:
        raise UsageError("no id was given", fix="name one, or pipe some into `-`")
    return list(found)


@contextmanager
def kindly() -> Iterator[None]:
    """Turn what the operating system refuses into errors that say what a person does about it."""
    try:
        yield
    except PermissionError as error:
        fix = "run it as the user who owns the state directory: `sudo -u repairlab repairlab …`, or root; "
        fix += "handing in takes the group repairlab-submit, reading results the group repairlab"
        raise Forbidden(f"{error.strerror}: {error.filename}", fix=fix) from error
    except OSError as error:
        if error.errno not in TRANSIENT:
            raise
        where = f": {error.filename}" if error.filename else ""
        # fcntl(2), "Leases": our open has told the holder to let go, and EAGAIN says that it has not yet.
        leased = error.errno == errno.EAGAIN and error.filename is not None
        fix = "a program has a lease on it, which the kernel ends within a minute; then try again"
        raise TemporaryFailure(f"{error.strerror}{where}", fix=fix if leased else "free some and try again") from error


def run(program: click.Command, name: str, called: str, argv: Sequence[str]) -> int:
    """Run a click program as `name`; return its exit code.

    With --json an error is printed as an envelope before it is raised to be told on stderr. Not click's own `main`: it
    ends the process by itself where a pipe breaks.
    """
    try:
        with kindly():
            return _invoke(program, name, argv)
    except BrokenPipeError:
        raise
    except Exception as error:
        if "--json" in argv:
            print(output.envelope(called, None, error), flush=True)
        raise


def _invoke(program: click.Command, name: str, argv: Sequence[str]) -> int:
    try:
        with program.make_context(name, list(argv)) as context:
            return int(program.invoke(context) or os.EX_OK)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        path = getattr(getattr(error, "ctx", None), "command_path", name)
        raise UsageError(error.format_message().rstrip("."), fix=f"see `{path} --help`") from None


def record(app: App, kind: str, message: str, **fields: str) -> None:
    """Tell the journal what an operator did, wherever stderr goes; a machine without a journal is told nothing."""
    from repairlab import journal

    told: dict[str, Any] = dict(fields)
    if os.path.exists(journal.SOCKET):
        journal.configure("repairlab", journal.choose(to_journal=True))
        with suppress(OSError):
            journal.event(journal.Event[kind], message, UID=os.getuid(), ROOT=app.root, **told)
