"""lab: a machine with a systemd of its own, for the tests of this directory.

    with Lab(hidden=[checkout]) as lab:
        lab.boot()
        lab.run("systemctl", "enable", "--now", "repairlab-queue-watcher.service")
        lab.run("cp", "handoff.json", "/var/lib/repairlab/spool/repair/", user="alice")
        lab.cut()
        lab.boot()

The machine itself belongs to keeper.py, a process of its own that outlives no test run. Here are the ways to reach into
it: `run` (as root or as one of its users), `at` (its files), `show` and `journal`.

`impossible()` says why there can be no lab here: no root, no systemd-nspawn.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import keeper

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What nspawn leaves to a container. nsenter keeps the machine's own: a `date -s` in there would move its clock.
BOUNDS = (
    "-all,+audit_control,+audit_write,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+ipc_owner,+kill,+lease,"
    "+linux_immutable,+mknod,+net_admin,+net_bind_service,+net_broadcast,+net_raw,+setfcap,+setgid,+setpcap,+setuid,"
    "+sys_admin,+sys_boot,+sys_chroot,+sys_nice,+sys_ptrace,+sys_resource,+sys_tty_config"
)
PROGRAMS = ("systemd-nspawn", "nsenter", "setpriv", "unshare", "mkfs.ext4")


def impossible() -> str | None:
    """Why no container can be booted on this machine, or None."""
    if os.geteuid() != 0:
        return "booting a container takes root"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(missing)} not installed (Debian: systemd-container util-linux e2fsprogs)"
    return None


class Failed(AssertionError):
    """A command in the container did not end as it should; carries what it said."""


class Lab:
    """A container that can be booted, used, cut off its power, and booted again."""

    def __init__(self, hidden: Sequence[Path | str] = ()) -> None:
        self.leader: int | None = None
        keeper.sweep()
        self.name = f"{keeper.PREFIX}{secrets.token_hex(4)}"
        unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.process = subprocess.Popen(
            [*unshare, sys.executable, "-I", keeper.__file__, self.name, *map(str, hidden)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # ^C is for the tests; they end it
        )
        self.disk = self._answer()["disk"]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.keeper = int(children.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    # --- power --------------------------------------------------------------------------------------------------------

    def boot(self, timeout_s: float = 30) -> None:
        """Switch it on; returns when nothing is left to be started."""
        told = self._ask(do="boot")
        if told["leader"] is None:
            raise Failed(f"systemd-nspawn ended: {told['console']}")
        self.leader = told["leader"]
        state = self.until(self._settled, timeout_s)
        if state != "running":
            raise Failed(f"the container is {state}\n{self.run('systemctl', '--failed', check=False).stdout}")

    def _settled(self) -> str | None:
        """How it came up, once it is up."""
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state if state in {"running", "degraded", "maintenance"} else None

    def reboot(self) -> None:
        """Restart it as an operator does."""
        self.run("systemctl", "reboot", check=False)  # the bus may go before the answer comes
        status = self._ask(do="wait", timeout_s=60)["status"]
        if status != 133:
            raise Failed(f"systemd-nspawn ended with {status}, not with the 133 of a reboot")
        self.boot()

    def cut(self) -> None:
        """Take its power away."""
        self._ask(do="cut")
        self.leader = None

    def _ask(self, **order: object) -> dict:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the keeper of the container ended with {self.process.wait(30)}; see stderr")
        return json.loads(line)

    # --- inside -------------------------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        user: str | None = None,
        check: bool = True,
        stdin: str | None = None,
        timeout_s: float = 20,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as root or as one of its users, with nothing but its own environment."""
        become = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        clean = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": f"/home/{user}" if user else "/root", **(env or {})}
        view = [*self._keepers_view, "nsenter", "-t", str(self.leader), "-a"]
        view += ["setpriv", "--bounding-set", BOUNDS, *become, "env", "-i", "-C", "/"]
        bounded = ["timeout", "-k", "1", str(timeout_s), *argv]
        done = subprocess.run(
            [*view, *(f"{key}={value}" for key, value in clean.items()), *bounded],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s + 5,
            check=False,
        )
        if check and done.returncode != 0:
            told = self.run("journalctl", "--no-pager", "-n30", check=False).stdout if argv[0] == "systemctl" else ""
            raise Failed(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}{told}")
        return done

    def outside(self, *argv: str, **keywords: object) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine where the container's root directory is ROOT."""
        return subprocess.run([*self._keepers_view, *argv], text=True, **keywords)

    ROOT = "/run/lab/root"

    @property
    def _keepers_view(self) -> list[str]:
        """Where the container's mounts and the numbers of its processes are known."""
        return ["nsenter", "-t", str(self.keeper), "-m", "-p"]

    def at(self, path: str) -> Path:
        """One of its files, booted or not; not for what it mounted itself (/run, /tmp, /proc)."""
        return Path(f"/proc/{self.keeper}/root{self.ROOT}", path.lstrip("/"))

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What the service manager says about a unit."""
        told = self.run("systemctl", "show", unit, *(f"-p{name}" for name in properties)).stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def journal(self, *matches: str, **fields: str) -> list[dict]:
        """Journal entries that match, oldest first."""
        wanted = [*matches, *(f"{name}={value}" for name, value in fields.items())]
        told = self.run("journalctl", "-o", "json", "--all", "--no-pager", *wanted, check=False).stdout
        return [json.loads(line) for line in told.splitlines() if line.startswith("{")]

    @staticmethod
    def until(true: Callable[[], object], timeout_s: float = 20, at_most_every_s: float = 0.2) -> object:
        """Wait for something to become true and return it; what takes long is looked at less often."""
        began, pause_s = time.monotonic(), 0.05
        while not (found := true()):
            if time.monotonic() > began + timeout_s:
                raise Failed(f"it did not come true within {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, at_most_every_s)
        return found
