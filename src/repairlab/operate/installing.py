"""installing: `repairlab install --user`: units for one person's own service manager, without root.

From a checkout this is `deploy/install --user`. An installed RepairLab (the package, or `deploy/install` as root) has
its user units where every person's manager looks already, and they name the installed programs: nothing is fetched or
copied, the manager is made to read them, and it is proved that it sees these and no older copies.

Files read: user units below /usr/lib, /usr/local/lib or $XDG_DATA_HOME/systemd/user; 50-repairlab.preset.
"""

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from repairlab import process
from repairlab.errors import Unavailable, UsageError
from repairlab.operate import output
from repairlab.operate.app import Answer, App, command

CHECKOUT = Path(__file__).resolve().parents[3]
RELEASE = Path(sys.prefix)
LINGER = Path("/var/lib/systemd/linger")
MANAGER_S = 30.0
INSTALL_S = 900.0
NO_MANAGER = "log in (not with su or sudo), or have root run `loginctl enable-linger {user}` once, and try again"
NOT_INSTALLED = "install the package, or run `deploy/install --user` in the source tree"


@command("install")
@click.option("--user", "for_user", is_flag=True, help="For your own service manager; needs no root.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def install_command(_app: App, for_user: bool, dry_run: bool) -> Answer:
    """Install units for your own service manager.

    From a source tree programs and units go below ~/.local; where RepairLab is installed for the machine its own are
    used. Nothing is enabled or started.
    """
    if not for_user:
        fix = "add --user; for the machine, install the package or run deploy/install as root"
        raise UsageError("only units for one person can be installed from here", fix=fix)
    if (script := CHECKOUT / "deploy/install").is_file():
        _from_checkout(script, dry_run)  # which says what to start
        return _answer(_Installed(Path.home() / ".local", CHECKOUT / "systemd"), dry_run)
    found = _installed()
    if not dry_run:
        _show_to_the_manager(found)
    output.say(f"to start: {found.start}")
    return _answer(found, dry_run)


class _Installed:
    """The user units of an installation whose programs are in PREFIX/bin; `share` has its preset."""

    def __init__(self, prefix: Path, share: Path) -> None:
        data = os.environ.get("XDG_DATA_HOME", "")
        own = Path(data if data.startswith("/") else Path.home() / ".local/share")
        places = [Path(f"{base}/systemd/user") for base in (own, "/usr/local/lib", "/usr/lib")]
        self.units = next(filter(None, (list(_units(at, prefix)) for at in places)), [])
        self.preset = share / "50-repairlab.preset"

    @property
    def start(self) -> str:
        """The command that enables what is to be enabled, of the units that are there."""
        wanted = [line.split()[1] for line in self.preset.read_text().splitlines() if line.startswith("enable ")]
        there = [name for name in wanted if name in {unit.name for unit in self.units}]
        return " ".join(["systemctl --user enable --now", *there])


def _units(at: Path, prefix: Path) -> Iterator[Path]:
    """Our units in `at`, unless the programs that they start are another installation's."""
    found = sorted(at.glob("repairlab*.*")) if at.is_dir() else []
    found = [unit for unit in found if unit.is_file()]
    if any(f"={prefix}/bin/" in unit.read_text(errors="replace") for unit in found):
        yield from found


def _from_checkout(script: Path, dry_run: bool) -> None:
    """Run the installer of the source tree, and pass on what it says."""
    done = process.run([str(script), "--user", *(["--dry-run"] if dry_run else [])], timeout=INSTALL_S)
    said = done.err.decode(errors="replace").splitlines()
    for told in said:
        output.say(told)
    if done.code != os.EX_OK:
        raise Unavailable(f"{script} --user ended with {done.code}", fix="see what it said above")


def _installed() -> _Installed:
    """What this very program belongs to."""
    if (RELEASE / ".complete").exists() and RELEASE.parent.name == "repairlab":
        found = _Installed(RELEASE.parents[2], RELEASE / "share/repairlab")
        if found.units:
            return found
    raise Unavailable(f"the RepairLab in {RELEASE} has no units for a user's service manager", fix=NOT_INSTALLED)


def _show_to_the_manager(found: _Installed) -> None:
    """Make the person's manager read its units anew; Unavailable if it does not run, or would use others than ours."""
    _systemctl("daemon-reload")
    for unit in found.units:
        name = unit.name.replace("@.", "@x.")
        used = _systemctl("show", "--property=FragmentPath", "--value", name).strip()
        if os.path.realpath(used) != os.path.realpath(unit):
            fix = f"remove {used} (an earlier `deploy/install --user`?) and try again" if used else "is it masked?"
            raise Unavailable(f"your service manager does not use {unit} but {used or 'none'}", fix=fix)


def _systemctl(*arguments: str) -> str:
    user = pwd.getpwuid(os.getuid()).pw_name
    try:
        done = process.run(["systemctl", "--user", *arguments], timeout=MANAGER_S)
    except FileNotFoundError:
        raise Unavailable("there is no systemctl here", fix="start bin/repairlab-queue-watcher yourself") from None
    if done.code != os.EX_OK:
        said = done.err.decode(errors="replace").strip().splitlines() or [f"exit code {done.code}"]
        raise Unavailable(f"your service manager does not answer: {said[-1]}", fix=NO_MANAGER.format(user=user))
    return done.out.decode(errors="replace")


def _answer(found: _Installed, dry_run: bool) -> Answer:
    lingers = (LINGER / pwd.getpwuid(os.getuid()).pw_name).exists()
    if not lingers:
        output.say("to have it run while you are not logged in: loginctl enable-linger")
    data: dict[str, Any] = {"dry_run": dry_run, "units": found.units, "start": found.start, "lingers": lingers}
    return Answer(data=data, text=[str(unit) for unit in found.units])
