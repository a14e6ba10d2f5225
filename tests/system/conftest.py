"""Machines with RepairLab installed, for the tests of this directory.

Without root or systemd-nspawn the tests are skipped with the reason; with CI=true a skip is a failure (strict.py).
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # lab.py, beside this file

from lab import Lab, impossible
from people import SOURCE, WATCHER
from strict import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ["pyproject.toml", "README.md", "src", "bin", "deploy", "systemd", "docs/man", "examples", "tests/attacks"]
GROUPS = {"alice": "repairlab-submit", "bob": "repairlab-submit", "rita": "repairlab", "mallory": "mallory"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here time for a boot, and the first of a process for the installation that all others copy."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def _possible() -> None:
    if reason := impossible():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def packaging(request, _possible, tmp_path_factory, outer_environment) -> Iterator[Callable[[], Path]]:
    """What waits for the Debian package; its build goes on beside the installation that all others wait for."""
    out = tmp_path_factory.mktemp("deb")
    quick = {"DPKG_DEB_COMPRESSOR_TYPE": "gzip", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}  # xz takes ten seconds
    builds = []

    def begin() -> None:
        with (out / "log").open("wb") as log:
            build = subprocess.Popen(
                [PROJECT / "deploy/deb", out],
                env=outer_environment | quick,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        builds.append(build)

    def package() -> Path:
        if not builds:
            begin()
        [build] = builds
        said = f"{build.wait()}\n{(out / 'log').read_text(errors='replace')}"
        assert build.returncode == 0, said
        assert "building in a namespace without a network" in said
        [deb] = out.glob("*.deb")
        return deb

    # One of several processes sees the tests of all: whether these are its own it learns when they begin.
    alone = not hasattr(request.config, "workerinput")
    if alone and any(item.path.name == "test_package.py" for item in request.session.items):
        begin()
    yield package
    for build in builds:
        if build.poll() is None:  # nobody waited for it
            os.killpg(build.pid, signal.SIGKILL)
            build.wait()


@pytest.fixture(scope="session")
def staged(_possible, packaging, made_once, outer_environment) -> Path:
    """A root directory with the project's sources, and installed from them by `deploy/install --root`."""

    def stage(root: Path) -> None:
        root.chmod(0o755)  # it becomes somebody's "/"
        project = root / SOURCE.lstrip("/")
        project.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            if (PROJECT / part).is_dir():
                shutil.copytree(PROJECT / part, project / part, ignore=ignore)
            else:
                shutil.copy2(PROJECT / part, project / part)
        argv = [project / "deploy/install", "--root", root]
        done = subprocess.run(argv, env=outer_environment, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return made_once("staged", stage)


def furnish(lab: Lab, staged: Path) -> None:
    """Boot a machine, install RepairLab the way its README says, and let people in."""
    lab.outside("cp", "-a", "--reflink=auto", f"{staged}/.", lab.ROOT, check=True)
    lab.boot()
    # The packages are there already (a container has no network); everything else happens here and now.
    lab.run(f"{SOURCE}/deploy/install", timeout_s=60)
    for name, group in GROUPS.items():
        lab.run("useradd", "-m", name)
        lab.run("usermod", "-a", "-G", group, name)
    lab.run("sync")  # it was installed long before anything happens to it


@pytest.fixture(scope="session")
def new_machine(staged) -> Callable[[], Lab]:
    """Make a machine of one's own: `with new_machine() as machine`."""

    def make() -> Lab:
        lab = Lab(hidden=[PROJECT])
        try:
            furnish(lab, staged)
        except BaseException:
            lab.close()
            raise
        return lab

    return make


@pytest.fixture(scope="module")
def machine(new_machine) -> Iterator[Lab]:
    """A machine whose watcher and timer are on, shared by the tests of a module."""
    with new_machine() as lab:
        lab.run("systemctl", "enable", "--now", "repairlab-queue-watcher.service", "repairlab-cleanup.timer")
        yield lab


@pytest.fixture(scope="module")
def _prompt(machine) -> None:
    """A foreign file, which a service without CAP_LEASE may not lease, is left alone for less than the usual 2 s."""
    machine.run("mkdir", "-p", f"/etc/systemd/system/{WATCHER}.d")
    drop_in = f"/etc/systemd/system/{WATCHER}.d/00-quick.conf"
    machine.run("tee", drop_in, stdin="[Service]\nEnvironment=REPAIRLAB_QUEUE_SETTLE_S=0.2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", WATCHER)


@pytest.fixture
def _counted_anew(machine) -> None:
    """The starts by the tests' own hands are no storm: a module has more of them than the start limit allows."""
    machine.run("systemctl", "reset-failed", WATCHER)
