"""One person's own installation: units of a user manager that lingers, without root and beside no system service."""

import json
import subprocess
from pathlib import Path

import pytest
from lab import Lab
from people import EXAMPLES, SOURCE, WATCHER

from repairlab import documents

HOME = "/home/carol"
SHIPPED = Path(__file__).parents[2] / "systemd/user"
pytestmark = pytest.mark.timeout(400)  # the first of them makes an environment


@pytest.fixture(scope="module")
def carol(staged, tmp_path_factory, outer_environment):
    """A machine on which only carol has installed RepairLab, as herself: `carol("repairlab", "status")`."""
    root = tmp_path_factory.mktemp("own")
    root.chmod(0o755)
    env = outer_environment | {"HOME": HOME, "PYTHON": "/usr/bin/python3", "XDG_DATA_HOME": f"{HOME}/.local/share"}
    # Packages come from where this machine's own user has them configured and cached.
    home = {key: outer_environment[key] for key in ("HOME",) if key in outer_environment}
    argv = [staged / SOURCE.lstrip("/") / "deploy/install", "--user", "--prefix", f"{HOME}/.local", "--root", root]
    done = subprocess.run(argv, env=env | home, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Lab() as lab:
        lab.outside("cp", "-a", f"{root}/.", lab.ROOT, check=True)
        lab.outside("cp", "-a", f"{staged}{SOURCE}", f"{lab.ROOT}/usr/src/", check=True)
        lab.boot()
        lab.run("useradd", "-M", "-d", HOME, "carol")
        lab.run("chown", "-R", "carol:carol", HOME)
        lab.run("loginctl", "enable-linger", "carol")
        uid = lab.run("id", "-u", "carol").stdout.strip()
        lab.until(lambda: lab.run("test", "-S", f"/run/user/{uid}/bus", check=False).returncode == 0)
        env = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus"}
        env["PATH"] = f"{HOME}/.local/bin:/usr/bin:/bin"

        def run(*argv: str, **keywords) -> subprocess.CompletedProcess[str]:
            return lab.run(*argv, user="carol", env=env, **keywords)

        run.lab = lab
        run(f"{SOURCE}/deploy/install", "--user", timeout_s=60)
        run("systemctl", "--user", "enable", "--now", WATCHER, "repairlab-cleanup.timer")
        yield run


def test_a_person_repairs_with_units_of_their_own(carol):
    told = json.loads(carol("repairlab", "submit", "--wait", "--json", f"{EXAMPLES}/invoices", timeout_s=60).stdout)
    assert told["ok"], told
    assert list(carol.lab.at(f"{HOME}/.local/state/repairlab/spool/challengers").glob("challenger_*.json"))
    told = "StatusText=0 running, 0 ready or deferred, 1 done"
    carol.lab.until(lambda: carol("systemctl", "--user", "show", WATCHER, "-pStatusText").stdout.strip() == told)
    assert not carol.lab.at("/var/lib/repairlab").exists() or not list(carol.lab.at("/var/lib/repairlab").iterdir())


def test_the_units_come_back_with_the_machine_without_a_login(carol):
    carol.lab.reboot()
    show = ("systemctl", "--user", "show", WATCHER, "repairlab-cleanup.timer", "-pSubState")
    carol.lab.until(lambda: carol(*show, check=False).stdout.split() == ["SubState=running", "SubState=waiting"])


def test_the_command_installs_from_a_source_tree_what_the_script_does(carol):
    """The programs of the tree, run by the interpreter of the installation, which has the packages."""
    release = carol("readlink", "-f", f"{HOME}/.local/bin/repairlab").stdout.strip().removesuffix("/bin/repairlab")
    unit = f"{HOME}/.local/share/systemd/user/{WATCHER}"
    command = (f"{release}/bin/python", "-I", f"{SOURCE}/bin/repairlab", "install", "--user", "--json")
    carol("rm", unit)
    told = carol(*command, "--dry-run")
    assert f"install: {unit}" in told.stderr
    assert carol("test", "-e", unit, check=False).returncode == 1
    told = json.loads(carol(*command, timeout_s=60).stdout)
    assert told["ok"], told
    assert unit in told["data"]["units"]
    assert carol("systemctl", "--user", "show", WATCHER, "-pFragmentPath").stdout.strip() == f"FragmentPath={unit}"
    # From the installation itself there is nothing to be done, and nothing is.
    assert json.loads(carol("repairlab", "install", "--user", "--json").stdout)["data"] == told["data"]


def test_a_persons_unit_that_fails_is_written_down_with_what_their_journal_has(carol):
    config = f"{HOME}/.config/repairlab/config.toml"
    carol("mkdir", "-p", config.rpartition("/")[0])
    carol("tee", config, stdin="[watcher]\nno_such_key = 1\n")
    assert carol("systemctl", "--user", "restart", WATCHER, check=False).returncode != 0
    place = carol.lab.at(f"{HOME}/.local/state/repairlab/escalations")
    carol.lab.until(lambda: list(place.glob(f"{WATCHER}-*.json")))
    (path,) = place.iterdir()
    found = documents.decode(path.read_bytes(), documents.Escalation)
    assert (found.manager, found.result, found.exit_status) == ("user", "exit-code", 78)
    assert any(f"{config}:2: unknown setting" in line.message for line in found.journal), found.journal_note
    assert f"systemctl --user start {WATCHER}" in found.commands
    revive = f"repairlab-revive@{WATCHER.removesuffix('.service')}.timer"
    assert carol("systemctl", "--user", "is-active", revive).stdout.strip() == "active"
    carol("rm", config)
    carol("systemctl", "--user", "start", WATCHER)


# Tenths of what systemd-analyze says at most: a person's manager has no User=, which alone is 0.4, and few namespaces.
SERVING, ONESHOT, SANDBOX = 79, 61, 5
EXPOSURE = {
    "repairlab-queue-watcher": SERVING, "repairlab-evaluator": SERVING, "repairlab-toolgen": SERVING,
    "repairlab-cleanup": ONESHOT, "repairlab-library-extract": ONESHOT, "repairlab-auto-specder": ONESHOT,
    "repairlab-failure@": ONESHOT, "repairlab-sandbox@": SANDBOX,
}  # fmt: skip


@pytest.fixture
def consumers(carol):
    """Consumers at work for one test: to the others they would take away what they look at."""
    units = ("repairlab-evaluator.service", "repairlab-toolgen.service")
    carol("systemctl", "--user", "start", *units)
    yield
    carol("systemctl", "--user", "stop", *units)


@pytest.mark.usefixtures("consumers")
def test_a_persons_units_do_their_job_as_confined_as_they_can_be(carol, record_property):
    services = {path.stem for path in SHIPPED.glob("*.service")}
    assert services == set(EXPOSURE)
    oneshots = [f"{name}.service" for name, tenths in EXPOSURE.items() if tenths == ONESHOT and "@" not in name]
    carol("systemctl", "--user", "start", *oneshots)
    for unit in oneshots:
        told = carol("systemctl", "--user", "show", unit, "-pResult", "-pExecMainStatus").stdout
        assert told.split() == ["Result=success", "ExecMainStatus=0"], unit
    for name, tenths in EXPOSURE.items():
        unit = f"{name}x.service" if "@" in name else f"{name}.service"
        told = carol("systemd-analyze", "--user", "security", "--no-pager", f"--threshold={tenths}", unit, check=False)
        record_property(unit, told.stdout.strip().rpartition(": ")[2])
        assert told.returncode == 0, told.stdout


def test_systemd_analyze_has_nothing_to_say_about_a_persons_units(carol):
    shipped = [path.name for path in SHIPPED.iterdir() if path.is_file()]
    units = [carol.lab.at(f"{HOME}/.local/share/systemd/user") / name for name in sorted(shipped)]
    assert all(unit.exists() for unit in units)
    paths = [f"{HOME}/.local/share/systemd/user/{unit.name}" for unit in units]
    told = carol("systemd-analyze", "--user", "verify", "--man=no", *paths)
    assert told.stdout + told.stderr == ""
