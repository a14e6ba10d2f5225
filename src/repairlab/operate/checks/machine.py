"""machine: what the kernel and the other processes give us: inotify, the clock, memory, a running watcher."""

import ctypes
import errno
import os
import pwd
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from repairlab.operate import output
from repairlab.operate.app import App
from repairlab.operate.checks import Check, Status

TOOLGEN = "repairlab-toolgen"
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
INOTIFY = Path("/proc/sys/fs/inotify")


def inotify() -> Iterator[Check]:
    """Make an instance: without one, arrivals are found by the rescan alone, seconds later."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        limit = _read(INOTIFY / "max_user_instances")
        fix = f"sysctl fs.inotify.max_user_instances={2 * int(limit or 128)}" if code == errno.EMFILE else ""
        yield Check("inotify", Status.WARN, f"{os.strerror(code)}: arrivals wait for the rescan", fix)
        return
    os.close(fd)
    told = f"{_read(INOTIFY / 'max_user_instances')} instances, {_read(INOTIFY / 'max_user_watches')} watches a user"
    yield Check("inotify", Status.OK, told)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2); only `modes` matters, it must be 0, and the rest must have room."""

    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 252)]


def clock() -> Iterator[Check]:
    """Whether the wall clock is sane and kept by somebody: `not_before` and the age of old things depend on it."""
    now = time.time()
    if now < 1_700_000_000:
        yield Check("clock", Status.FAIL, f"it is {time.ctime(now)} here", "set the clock: `timedatectl set-ntp true`")
        return
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(_Timex()))
    if state == TIME_ERROR:
        fix = "none inside a container; else `timedatectl set-ntp true`"
        yield Check("clock", Status.WARN, "the kernel says that nobody keeps it synchronized", fix)
    elif state < 0:
        yield Check("clock", Status.WARN, "the kernel does not say whether it is synchronized")
    else:
        yield Check("clock", Status.OK, "synchronized")


def memory(app: App) -> Iterator[Check]:
    """Whether every agent at a time could use what one may use."""
    agents = app.settings.watcher.concurrency or len(os.sched_getaffinity(0))
    each = app.settings.agent.memory_mb << 20
    line = next((row for row in _read(Path("/proc/meminfo")).splitlines() if row.startswith("MemAvailable:")), "")
    free = int(line.split()[1]) << 10 if line else 0
    why = f"{output.size(free)} available; {output.plural(agents, 'agent')} may use {output.size(each)} each"
    if line and free < agents * each:
        fix = "lower concurrency in [watcher] or memory_mb in [agent]"
        yield Check("memory", Status.WARN, why, fix)
    else:
        yield Check("memory", Status.OK, why)


def watcher(app: App) -> Iterator[Check]:
    """Whether a watcher runs on this machine (seen from here: one in another PID namespace is not)."""
    from repairlab import config

    found = watchers(app.root)
    if found:
        yield Check("watcher", Status.OK, f"running as {', '.join(f'pid {pid}' for pid in found)}")
    else:
        unit = "repairlab-queue-watcher"
        machines = config.system_mode() or app.root == config.SYSTEM_ROOT
        manager = "systemctl" if machines else "systemctl --user"
        named = {"REPAIRLAB_ROOT", "STATE_DIRECTORY"}
        usual = config.root({name: value for name, value in os.environ.items() if name not in named})
        fix = f"`{manager} enable --now {unit}`, or `{unit} --once` by hand"
        if app.root not in (usual, config.SYSTEM_ROOT):  # no unit serves it
            fix = f"`{unit} --root {shlex.quote(str(app.root))}`"
        yield Check("watcher", Status.WARN, "none runs: jobs wait", fix)


def linger() -> Iterator[Check]:
    """Whether a person's own services go on when they log out; says nothing where there is no manager for them."""
    from repairlab import config

    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if config.system_mode() or not runtime or not Path(runtime, "systemd").is_dir():
        return
    name = pwd.getpwuid(os.getuid()).pw_name
    if Path("/var/lib/systemd/linger", name).exists():
        yield Check("linger", Status.OK, "your services go on when you log out")
    else:
        yield Check("linger", Status.WARN, "your services end when you log out", "`loginctl enable-linger`")


def watchers(root: Path) -> list[int]:
    """Return the pids of the queue watchers that serve `root`, or of which we may not see what they serve."""
    return serving(root, "repairlab-queue-watcher")


def serving(root: Path, program: str) -> list[int]:
    """Return the pids of a program's processes that serve `root`, or of which we may not see what they serve."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            words = [os.fsdecode(word) for word in Path(entry.path, "cmdline").read_bytes().split(b"\0")]
        except OSError:  # it ended, or hidepid
            continue
        ours = any(os.path.basename(word) == program for word in words[:3])
        if ours and _serves(entry.path, words) in (None, root):
            found.append(int(entry.name))
    return sorted(found)


def _serves(process: str, words: list[str]) -> Path | None:
    """Return the state directory of a watcher, from its command line and environment; None where that is hidden."""
    from repairlab import config

    if "--root" in words[:-1]:
        return Path(words[words.index("--root") + 1])
    try:
        items = (os.fsdecode(item).partition("=") for item in Path(process, "environ").read_bytes().split(b"\0"))
        environ = {name: value for name, _, value in items}
        told = environ.keys() & {"REPAIRLAB_ROOT", "STATE_DIRECTORY"} or os.stat(process).st_uid == os.geteuid()
    except PermissionError:
        return None
    except OSError:  # it has ended meanwhile
        return Path()
    return config.root(environ) if told else None
