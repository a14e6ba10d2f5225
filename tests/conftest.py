"""What every test gets without asking: a fixed environment, warnings as errors in children, and no process left behind.

A test that leaves a process running fails, whoever started it: the test run is a child subreaper, so that even a
daemon that forked twice comes back as our child when its parent goes. Processes that the kernel is about to kill
(PDEATHSIG, a closed control socket) get a grace time; what outlives it is killed and named.

The tests run in one process, or in several side by side (pytest -n N --dist loadfile, as `setup.sh test` does): each of
them takes whole files, so that a module's fixtures are made once, and the files that wait for machines come first.
"""

import ctypes
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 10.0  # on a busy machine even a killed process may take seconds to go
PR_SET_CHILD_SUBREAPER = 36
# Nothing can be created below /proc, not even by root: a test that forgets to name its root fails at once.
NOWHERE = "/proc/nowhere"
FIXED = {
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "COLUMNS": "100",
    "TERM": "dumb",
    "PYTHONWARNINGS": "error",
    "XDG_CONFIG_HOME": f"{NOWHERE}/config",
    "XDG_STATE_HOME": f"{NOWHERE}/state",
}
OUTER = pytest.StashKey[dict[str, str]]()
FOREIGN = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
FOREIGN += ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PYTHONPATH")


def pytest_configure(config: pytest.Config) -> None:
    """Fix the environment before anything is imported; children inherit it."""
    # One of several processes was started in the environment that the first of them has fixed already.
    config.stash[OUTER] = getattr(config, "workerinput", {}).get("outer") or dict(os.environ)
    for name in [*FOREIGN, *(name for name in os.environ if name.startswith("REPAIRLAB_"))]:
        os.environ.pop(name, None)
    os.environ.update(FIXED)
    time.tzset()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: its children would ignore it too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Time on a busy machine proves nothing. CI looks at the same examples each time; everybody else at new ones.
    hypothesis.settings.register_profile(
        "suite",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        derandomize=bool(os.environ.get("CI")),
        print_blob=True,
    )
    hypothesis.settings.load_profile("suite")
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process that runs a part of the tests what environment they all were started in."""
    node.workerinput["outer"] = node.config.stash[OUTER]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, let those that wait begin and those that compute fill the gaps; the order else stays random."""
    if hasattr(config, "workerinput"):
        tiers = ("unit", "protocol", "system")

        def longest(item: pytest.Item) -> tuple[int, float]:
            tier, mark = item.path.parent.name, item.get_closest_marker("timeout")
            return (tiers.index(tier) if tier in tiers else -1), (mark.args[0] if mark else 0)

        items.sort(key=longest, reverse=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests have measured, from whichever process."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else ():
            terminalreporter.write_line(f"{report.nodeid}: {name} {value}")


def children() -> set[int]:
    """The pids of our direct children, zombies included."""
    ours = os.getpid()
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_bytes()
            except OSError:  # it ended between the two calls
                continue
            if int(stat.rpartition(b")")[2].split()[1]) == ours:
                found.add(int(entry.name))
    return found


def ended(pid: int, timeout_s: float) -> bool:
    """Wait for a child of ours and reap it; False if it still runs after `timeout_s`."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = select.select([handle], [], [], max(0.0, timeout_s))
    finally:
        os.close(handle)
    if readable:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # a Popen's destructor was quicker
            pass
    return bool(readable)


def command(pid: int) -> str:
    """What `ps` would call the process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"{pid}"
    return f"{pid} ({b' '.join(words).decode(errors='replace').strip()[:200]})"


def left_behind(before: set[int], grace_s: float = GRACE_S) -> list[str]:
    """Kill and name every child that is not in `before` and that outlives the grace time."""
    deadline = time.monotonic() + grace_s
    survivors = []
    # A killed parent hands us its children only now, so look again until nothing new is there.
    while fresh := sorted(children() - before):
        for pid in fresh:
            if not ended(pid, deadline - time.monotonic()):
                survivors.append(command(pid))
                os.kill(pid, signal.SIGKILL)
                ended(pid, 5.0)
    return survivors


@pytest.fixture(autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    before = children()
    yield
    if survivors := left_behind(before):
        pytest.fail(f"the test left processes behind: {', '.join(survivors)}", pytrace=False)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def outer_environment(request) -> dict[str, str]:
    """The environment that the tests were started in, for the tools that fetch packages by the machine's settings."""
    outer = request.config.stash[OUTER]
    kept = {name: value for name, value in outer.items() if not name.startswith(("REPAIRLAB_", "PYTEST_"))}
    return {name: value for name, value in kept.items() if name not in {*FOREIGN, "PYTHONWARNINGS", "VIRTUAL_ENV"}}


@pytest.fixture(scope="session")
def run_directory(request, tmp_path_factory) -> Path:
    """The directory of the whole test run (--basetemp), whatever number of processes it has."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(scope="session")
def made_once(run_directory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Have a directory made once a test run, by whichever process asks first; the others wait for it."""

    def once(name: str, make: Callable[[Path], None]) -> Path:
        place, made = run_directory / name, run_directory / f"{name}.made"
        with filelock.FileLock(f"{place}.lock"):
            if not made.exists():
                shutil.rmtree(place, ignore_errors=True)  # what somebody who failed has left
                place.mkdir()
                make(place)
                made.touch()
        return place

    return once


@pytest.fixture(autouse=True)
def _needs_root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs uid 0")
