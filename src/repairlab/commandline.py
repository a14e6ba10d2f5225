"""commandline: what the command lines of all programs share.

    options = parser().read(argv)

Every program has --help and --version, and most have --root DIR, which stands for $REPAIRLAB_ROOT. A wrong command line
is a `UsageError` (64): one line that names the option and what to do. An option is written in full: a shortened one
would change its meaning with the next option that begins alike.

The operator's programs read theirs with click and take the version from here.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from repairlab.errors import UsageError


class Parser(argparse.ArgumentParser):
    """The command line of one program."""

    def __init__(self, prog: str, description: str, *, epilog: str | None = None, root: bool = True) -> None:
        super().__init__(prog, description=description, epilog=epilog, allow_abbrev=False, exit_on_error=False)
        self.add_argument("--version", action=_Version, nargs=0, help="print the version")
        if root:
            told = "the state directory (default: $REPAIRLAB_ROOT, …)"
            self.add_argument("--root", type=Path, metavar="DIR", help=told)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options; --root is put into the environment, where this program and its workers look for it."""
        try:
            options, rest = self.parse_known_args(argv)
        except argparse.ArgumentError as error:
            raise UsageError(error.message, field=error.argument_name or "", fix=self._help()) from None
        if rest:
            raise self._unknown(rest[0])
        if root := getattr(options, "root", None):
            os.environ["REPAIRLAB_ROOT"] = str(root.absolute())
        return options

    def error(self, message: str) -> NoReturn:
        """Raise what argparse does not raise itself: what is required and missing."""
        raise UsageError(message, fix=self._help())

    def _unknown(self, word: str) -> UsageError:
        if not word.startswith("-"):
            return UsageError(f"{word!r} is not expected", fix=self._help())
        import difflib

        close = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        return UsageError(f"there is no option {word!r}", fix=f"{meant}{self._help()}")

    def _help(self) -> str:
        return f"see {self.prog} --help"


class _Version(argparse.Action):
    """Print the version and end; looked for only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, nargs: int, help: str) -> None:  # noqa: A002 - argparse's
        super().__init__(option_strings, dest, nargs=nargs, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"{parser.prog} {version()}")
        parser.exit()


def version() -> str:
    """Return the version of what is installed."""
    from importlib import metadata

    try:
        return metadata.version("repairlab")
    except metadata.PackageNotFoundError:
        return "(a source tree that is not installed)"


def positive(text: str) -> int:
    """Return the number that an option's value is."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
