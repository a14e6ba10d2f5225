"""deploy/install and deploy/uninstall, run for real: staged for a machine, and for one person below a prefix."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repairlab.sandbox.bubblewrap import ETC

LINKS = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}  # on a merged /usr
ROOT = Path(__file__).resolve().parents[2]
PARTS = ["pyproject.toml", "README.md", "src", "bin", "deploy", "systemd", "examples", "docs/man"]
pytestmark = pytest.mark.timeout(300)  # two environments are made from the lock


class Place:
    """A copy of the project and where it is installed to."""

    def __init__(self, base: Path, outer: dict[str, str], *options: str) -> None:
        self.base, self.project, self.options = base, base / "project", options
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, self.project / part, ignore=ignore)
            elif source.exists():
                (self.project / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.project / part)
        session = {"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"}  # the real user's manager is none of our business
        self.env = {name: value for name, value in outer.items() if name not in session}
        self.env |= {"XDG_DATA_HOME": str(base / "share"), "XDG_STATE_HOME": str(base / "state")}

    def run(self, script: str, *more: str, **env: str) -> subprocess.CompletedProcess:
        argv = [str(self.project / "deploy" / script), *self.options, *more]
        return subprocess.run(argv, env=self.env | env, cwd="/", capture_output=True, text=True, check=False)

    def files(self) -> set[str]:
        """Everything that lies there, without the insides of releases."""
        found = [path for path in self.base.rglob("*") if not path.is_relative_to(self.project)]
        lib = [path.parent for path in found if path.name == "pyvenv.cfg"]
        return {str(path.relative_to(self.base)) for path in found if not any(path.is_relative_to(at) for at in lib)}


@pytest.fixture(scope="module")
def staged(tmp_path_factory, outer_environment) -> Place:
    """Installed for a machine whose root directory is `staged.base / "root"`."""
    base = tmp_path_factory.mktemp("staged")
    place = Place(base, outer_environment, "--root", str(base / "root"))
    done = place.run("install")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def own(tmp_path_factory, outer_environment) -> Place:
    """Installed for one person below `own.base / "local"`."""
    base = tmp_path_factory.mktemp("own")
    place = Place(base, outer_environment, "--user", "--prefix", str(base / "local"))
    done = place.run("install")
    assert done.returncode == 0, done.stderr
    return place


def as_installed(staged: Place, *argv: str) -> subprocess.CompletedProcess:
    """Run a program where the staged /usr/local is the machine's."""
    local = staged.base / "root/usr/local"
    view = ["bwrap", "--dev-bind", "/", "/", "--bind", str(local), "/usr/local", *argv]
    return subprocess.run(view, capture_output=True, text=True, check=False, cwd="/")


def programs() -> list[str]:
    return sorted(path.name for path in (ROOT / "bin").iterdir())


def unit_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in {".service", ".timer", ".socket"})


def test_systemd_finds_nothing_to_say_about_the_installed_units(staged):
    names = unit_names(ROOT / "systemd")
    done = as_installed(staged, "systemd-analyze", "verify", *names)
    # The exit status proves nothing: a unit whose program is missing passes with a warning in some versions.
    assert (done.stdout, done.stderr) == ("", "")


def test_systemd_finds_nothing_to_say_about_a_users_units(own, tmp_path):
    units = own.base / "share/systemd/user"
    env = own.env | {"XDG_RUNTIME_DIR": str(tmp_path), "MANPATH": str(own.base / "local/share/man")}
    argv = ["systemd-analyze", "--user", "verify", *(str(units / name) for name in unit_names(units))]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def test_systemd_does_complain_about_a_unit_whose_program_is_missing(staged):
    link = staged.base / "root/usr/local/bin/repairlab-cleanup"
    target = link.readlink()
    link.unlink()
    try:
        assert "not executable" in as_installed(staged, "systemd-analyze", "verify", "repairlab-cleanup.service").stderr
    finally:
        link.symlink_to(target)


@pytest.mark.parametrize("name", programs())
def test_an_installed_program_runs_by_its_name_and_without_the_source_tree(staged, name):
    done = as_installed(
        staged, "--tmpfs", str(ROOT), "--tmpfs", str(staged.project), f"/usr/local/bin/{name}", "--help"
    )
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize("name", programs())
def test_a_users_program_runs_too(own, name):
    done = subprocess.run([own.base / "local/bin" / name, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_demo_finds_its_examples_where_it_was_installed(staged):
    argv = ["--tmpfs", str(ROOT), "--tmpfs", str(staged.project), "/usr/local/bin/repairlab", "demo", "--list"]
    done = as_installed(staged, *argv)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}


def test_the_environment_of_the_caller_cannot_change_what_a_program_imports(own, tmp_path):
    (tmp_path / "repairlab.py").write_text("raise SystemExit('hijacked')")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    argv = [own.base / "local/bin/repairlab", "--version"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_service_can_enter_and_read_its_whole_release(staged):
    [release] = [path.parent for path in staged.base.rglob("pyvenv.cfg")]
    assert not [path for path in release.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o044 != 0o044]
    base = next(line for line in (release / "pyvenv.cfg").read_text().splitlines() if line.startswith("home = "))
    assert not base.removeprefix("home = ").startswith(("/home", "/root"))


def test_every_unit_and_every_drop_in_without_a_condition_is_installed(staged):
    there = staged.base / "root/usr/local/lib/systemd/system"
    wanted = [path for path in (ROOT / "systemd").glob("*") if path.suffix in {".service", ".timer", ".socket"}]
    drop_ins = list((ROOT / "systemd").glob("*.d/*.conf"))
    wanted += [path for path in drop_ins if not path.read_text().startswith("# Needs systemd")]
    assert len(wanted) > len(drop_ins)
    assert [path for path in wanted if not (there / path.relative_to(ROOT / "systemd")).exists()] == []


def test_a_unit_of_any_kind_is_installed_with_its_drop_ins_and_its_real_prefix(tmp_path, outer_environment):
    place = Place(tmp_path, outer_environment, "--prefix", "/opt/lab", "--root", str(tmp_path / "root"))
    units = place.project / "systemd"
    service = "ExecStart=/usr/local/bin/repairlab-x --root /usr/local/lib/repairlab/root\n"
    (units / "repairlab-x@.service").write_text(f"[Service]\nRootDirectory=/usr/local/lib/repairlab/root\n{service}")
    (units / "repairlab-x.socket").write_text("[Socket]\nListenStream=/run/x\n")
    for kind in ("socket", "service"):
        (units / f"repairlab-x@.{kind}.d").mkdir()
        (units / f"repairlab-x@.{kind}.d/more.conf").write_text(f"[{kind.title()}]\nExecStop=/usr/local/bin/x\n")
    release = planned(place)
    release.mkdir(parents=True)
    (release / ".complete").touch()  # no environment is needed for this
    done = place.run("install")
    assert done.returncode == 0, done.stderr
    there = tmp_path / "root/usr/local/lib/systemd/system"
    assert "/usr/local" not in (there / "repairlab-x@.service").read_text()
    assert "RootDirectory=/opt/lab/lib/repairlab/root\n" in (there / "repairlab-x@.service").read_text()
    assert (there / "repairlab-x.socket").exists()
    for kind in ("socket", "service"):
        assert "=/opt/lab/bin/x" in (there / f"repairlab-x@.{kind}.d/more.conf").read_text()


def test_a_drop_in_is_in_force_exactly_where_systemd_knows_its_settings(staged):
    there = staged.base / "root/usr/local/lib/systemd/system/repairlab-queue-watcher.service.d/backoff.conf"
    link = "/usr/local/lib/repairlab/gated/link"
    assert not os.path.lexists(there), "a staged tree knows nothing of the machine's systemd"
    steps = [("254", [], True), ("253", [], False), ("255", [], True), ("255", ["--none"], False)]
    for version, arguments, wanted in steps:
        done = as_installed(staged, "--setenv", "SYSTEMD_VERSION", version, link, *arguments)
        assert done.returncode == 0, done.stderr
        assert os.path.lexists(there) is wanted
        assert ("backoff.conf" in done.stdout) is wanted, "the paths that are there are told, for the manifest"
    target = f"/usr/local/lib/repairlab/gated/254/{str(there).partition('/root/')[2]}"
    as_installed(staged, "--setenv", "SYSTEMD_VERSION", "254", link)
    try:
        assert str(there.readlink()) == target
        assert "RestartSteps=8" in as_installed(staged, "cat", f"/{str(there).partition('/root/')[2]}").stdout
    finally:
        as_installed(staged, link, "--none")


def test_a_release_holds_what_its_lock_names_and_no_builder(staged):
    [packages] = staged.base.rglob("site-packages")
    lock = (ROOT / "deploy/lock/runtime.txt").read_text()
    locked = {line.split("==")[0] for line in lock.splitlines() if "==" in line and "win32" not in line}
    found = {path.name.split("-")[0].lower().replace("_", "-") for path in packages.glob("*.dist-info")}
    found |= {path.name.split("-")[0].lower().replace("_", "-") for path in packages.glob("*.egg-info")}
    assert found - {"systemd-python"} == locked | {"repairlab"}
    assert not {"pip", "setuptools", "wheel", "pkg_resources"} & {path.name for path in packages.iterdir()}


def test_a_system_installation_offers_its_units_to_every_users_manager(staged):
    there = staged.base / "root/usr/local/lib/systemd/user"
    assert unit_names(there) == unit_names(ROOT / "systemd/user")
    assert (
        "ExecStart=/usr/local/bin/repairlab-queue-watcher\n" in (there / "repairlab-queue-watcher.service").read_text()
    )


def test_the_root_of_confined_units_is_empty_but_for_what_the_sandbox_shows(staged):
    root = staged.base / "root/usr/local/lib/repairlab/root"
    names = ["usr", "etc", "opt", "proc", "sys", "dev", "run", "tmp", "work", "var/lib", "var/tmp", "home", "root"]
    assert [name for name in names if (root / name).stat().st_mode != 0o040755] == []
    links = {path.name: str(path.readlink()) for path in root.iterdir() if path.is_symlink()}
    merged = {path.name: str(path.readlink()) for path in Path("/").iterdir() if path.name in LINKS}
    assert links == merged | {"tmpfs": "tmp"}
    assert str((root / "var/tmpfs").readlink()) == "tmp"
    files = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert files == ETC


def test_modules_are_compiled_because_the_service_cannot_write_beside_them(staged):
    [package] = staged.base.rglob("site-packages/repairlab")
    sources = [path for path in package.rglob("*.py") if "server" not in path.parts]
    assert sources
    assert all(list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")) for path in sources)


def test_installing_again_changes_nothing_and_says_so(staged):
    before = {name: (staged.base / name).lstat().st_mtime_ns for name in staged.files()}
    done = staged.run("install")
    assert done.returncode == 0
    after = {name: (staged.base / name).lstat().st_mtime_ns for name in staged.files()}
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert {Path(name).name for name in changed} <= {"MANIFEST", "repairlab"}  # the list, rewritten, and its directory
    assert [line for line in done.stderr.splitlines() if "done;" not in line] == []


def test_the_manifest_names_every_file_that_is_not_in_a_release(staged):
    root = staged.base / "root"
    manifest = (root / "usr/local/lib/repairlab/MANIFEST").read_text().split()
    files = {f"/{Path(name).relative_to('root')}" for name in staged.files() if not (staged.base / name).is_dir()}
    links = {f"/usr/local/bin/{name}" for name in programs()}
    links |= {f"/usr/local/lib/repairlab/root/{name}" for name in ("tmpfs", "var/tmpfs")}
    assert files | links - {"/usr/local/lib/repairlab/MANIFEST"} == {*manifest, "/usr/local/lib/repairlab/MANIFEST"}


def test_a_dry_run_writes_nothing(tmp_path, outer_environment):
    place = Place(tmp_path, outer_environment, "--root", str(tmp_path / "root"))
    done = place.run("install", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "repairlab-queue-watcher.service" in done.stderr
    assert place.files() == set()


def planned(place: Place) -> Path:
    """The release that an installation would make, which nothing else names beforehand."""
    said = place.run("install", "--dry-run").stderr
    return Path(re.search(r"^install: (/\S+/lib/repairlab/[0-9a-f]{16})$", said, re.MULTILINE)[1])


def test_an_upgrade_keeps_the_release_that_may_still_run_and_makes_good_what_was_cut_short(own):
    def releases() -> set[str]:
        return {path.parent.name for path in (own.base / "local/lib/repairlab").glob("*/pyvenv.cfg")}

    [first] = releases()
    oldest = own.base / "local/lib/repairlab/0123456789abcdef"
    oldest.mkdir()
    (oldest / "pyvenv.cfg").touch()
    stale = own.base / "share/systemd/user/repairlab-retired.service"
    stale.touch()
    with (own.base / "local/lib/repairlab/MANIFEST").open("a") as manifest:
        manifest.write(f"{stale}\n")
    with (own.project / "src/repairlab/errors.py").open("a") as file:
        file.write("\nUPGRADED = True\n")
    torn = planned(own)
    (torn / "bin").mkdir(parents=True)
    (torn / "bin/python").symlink_to("/bin/false")
    done = own.run("install")
    assert done.returncode == 0, done.stderr
    assert first in releases()
    assert len(releases()) == 2
    new = (own.base / "local/bin/repairlab").resolve().parent
    assert new.parent == torn
    assert torn.name != first
    assert (torn / ".complete").exists()
    argv = [new / "python", "-I", "-c", "from repairlab.errors import UPGRADED"]
    assert subprocess.run(argv, check=False).returncode == 0
    assert not stale.exists(), "a unit whose program is gone would fail for ever"


def test_uninstalling_leaves_the_data_and_nothing_else(tmp_path, staged):
    root = tmp_path / "root"
    shutil.copytree(staged.base / "root", root, symlinks=True)
    data = root / "var/lib/repairlab/spool/repair/handoff.json"
    data.parent.mkdir(parents=True)
    data.write_text("{}")
    script = [str(staged.project / "deploy/uninstall"), "--root", str(root)]
    done = subprocess.run(script, env=staged.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the data stays" in done.stderr
    assert [path for path in root.rglob("*") if not path.is_dir() or path.name.startswith("repairlab-")] == [data]
    again = subprocess.run(script, env=staged.env, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "nothing is installed" in again.stderr
    subprocess.run([*script, "--purge"], env=staged.env, capture_output=True, check=True)
    assert not (root / "var/lib/repairlab").exists()


@pytest.mark.root
def test_purging_empties_a_mount_and_passes_over_what_is_mounted_in_it(tmp_path, staged):
    state = tmp_path / "root/var/lib/repairlab"
    state.mkdir(parents=True)
    script = [str(staged.project / "deploy/uninstall"), "--root", str(tmp_path / "root"), "--purge"]
    with mounted(state):
        (state / "spool/repair").mkdir(parents=True)
        (state / "spool/repair/handoff.json").touch()
        (state / "elsewhere").mkdir()
        with mounted(state / "elsewhere"):
            (state / "elsewhere/kept").touch()
            done = subprocess.run(script, env=staged.env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert [path.name for path in state.rglob("*")] == ["elsewhere", "kept"]
    subprocess.run(script, env=staged.env, capture_output=True, check=True)
    assert not state.exists()


def test_purging_leaves_the_package_its_data(tmp_path, staged):
    """And the package leaves an installation from the tree its own."""
    data = tmp_path / "root/var/lib/repairlab/spool"
    data.mkdir(parents=True)
    (tmp_path / "root/usr/lib/repairlab").mkdir(parents=True)
    (tmp_path / "root/usr/lib/repairlab/units").touch()
    script = [str(staged.project / "deploy/uninstall"), "--root", str(tmp_path / "root"), "--purge"]
    done = subprocess.run(script, env=staged.env, capture_output=True, text=True, check=True)
    assert "the package goes on with the data" in done.stderr
    assert data.exists()


@contextmanager
def mounted(at: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "none", at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        ("install", ["--nonsense"], "unknown argument"),
        ("install", ["--purge"], "unknown option"),
        ("install", ["--root"], "takes a directory"),
        ("install", ["--prefix", "relative"], "absolute"),
        ("install", ["--prefix", "/with a space"], "letters"),
        ("uninstall", ["--nonsense"], "unknown argument"),
    ],
)
def test_a_wrong_command_line_is_refused_with_64(script, options, words):
    done = subprocess.run([ROOT / "deploy" / script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == os.EX_USAGE
    assert words in done.stderr


def test_an_interpreter_that_the_service_could_not_enter_is_refused(tmp_path, outer_environment):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    python = tmp_path / "python"
    claim = f"import sys; sys.executable = '{python}'; sys.base_prefix = '{private}'; "
    lines = ["#!/bin/sh", f'[ "$1" = -c ] || exec {sys.executable} "$@"', f'exec {sys.executable} -c "{claim}$2"']
    python.write_text("\n".join(lines) + "\n")
    python.chmod(0o755)
    place = Place(tmp_path, outer_environment, "--root", str(tmp_path / "root"))
    done = place.run("install", PYTHON=str(python))
    assert done.returncode == os.EX_UNAVAILABLE
    assert "may not enter" in done.stderr


@pytest.mark.root
def test_users_and_directories_come_into_being_with_their_modes(staged):
    root = staged.base / "root"
    (root / "etc").mkdir(exist_ok=True)
    for argv in [["systemd-sysusers"], ["systemd-tmpfiles", "--create"]]:
        name = f"usr/local/lib/{argv[0].removeprefix('systemd-')}.d/repairlab.conf"
        subprocess.run([*argv, f"--root={root}", str(root / name)], check=True, capture_output=True)
    users = {line.split(":")[0]: line.split(":") for line in (root / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0]: line.split(":") for line in (root / "etc/group").read_text().splitlines()}
    assert groups["repairlab-submit"][3] == "repairlab"
    assert users["repairlab"][6].endswith("nologin")
    queue = (root / "var/lib/repairlab/spool/repair").stat()
    assert (queue.st_uid, queue.st_gid) == (int(users["repairlab"][2]), int(groups["repairlab-submit"][2]))
    assert queue.st_mode & 0o7777 == 0o3770
    shutil.rmtree(root / "etc")
    shutil.rmtree(root / "var")
