"""The Debian package on a machine that has nothing of RepairLab: installed, at work, upgraded, removed, purged.

It is built once, without a network (deploy/deb); the one that is higher by a version is made of it, with another
release inside. Each test brings the machine to the state that it starts from, whatever the others left.
"""

import json
import shutil
import subprocess
from pathlib import Path

import people
import pytest
from lab import Lab
from people import STATE, WATCHER

PROJECT = Path(__file__).resolve().parents[2]
PRESET = (PROJECT / "systemd/50-repairlab.preset").read_text()
WANTED = [line.split()[1] for line in PRESET.splitlines() if line.startswith("enable ")]
HIGHER = "0.1.1"
STARTED = "ExecMainStartTimestampMonotonic"
pytestmark = pytest.mark.timeout(400)  # the first of them builds the package


@pytest.fixture(scope="module")
def built(packaging, tmp_path_factory) -> list[Path]:
    """The package, and the one of a higher version."""
    deb = packaging()
    return [deb, higher(deb, tmp_path_factory.mktemp("higher") / "tree")]


def higher(deb: Path, tree: Path) -> Path:
    """Make a package of the next version, whose release has another name: nothing of the old one stays."""
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: 0.1.0\n", f"Version: {HIGHER}\n"))
    [old] = tree.glob("usr/lib/repairlab/*/pyvenv.cfg")
    new = old.parent.with_name("00000000deadbeef")
    old.parent.rename(new)
    for link in (tree / "usr/bin").iterdir():
        target = str(link.readlink()).replace(old.parent.name, new.name)
        link.unlink()
        link.symlink_to(target)
    for program in [*new.glob("bin/repairlab*"), tree / "DEBIAN/md5sums"]:
        program.write_text(program.read_text().replace(old.parent.name, new.name))
    made = tree.with_name(f"repairlab_{HIGHER}.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, made], check=True)
    return made


class Machine:
    """A machine to which the packages were brought."""

    def __init__(self, lab: Lab, debs: list[Path]) -> None:
        self.lab, self.run = lab, lab.run
        for deb in debs:
            shutil.copy(deb, lab.at("/var/cache") / deb.name)
        self.debs = [f"/var/cache/{deb.name}" for deb in debs]

    @property
    def version(self) -> str:
        """The version that is installed, or nothing."""
        told = self.run("dpkg-query", "-W", "-f${db:Status-Status} ${Version}", "repairlab", check=False).stdout
        return told.removeprefix("installed ") if told.startswith("installed ") else ""

    def install(self, deb: str) -> str:
        # A slim image leaves manual pages out; that is its own business and not this package's.
        options = ["--path-include=/usr/share/man/*", "--force-downgrade", "--force-unsafe-io"]
        done = self.run("dpkg", *options, "-i", deb, timeout_s=60)
        return done.stdout + done.stderr

    def have(self) -> None:
        """Have the first version."""
        if self.version != "0.1.0":
            self.install(self.debs[0])

    def serve(self) -> None:
        """Have it, and its units on; the starts by the tests' own hands are no storm."""
        self.have()
        self.run("systemctl", "reset-failed", WATCHER, check=False)  # not loaded before it was ever on
        self.run("systemctl", "enable", "--now", *WANTED)

    def purge(self) -> None:
        self.run("dpkg", "-P", "repairlab", timeout_s=60)

    @property
    def units(self) -> list[str]:
        """The units of the system's manager, without templates."""
        files = self.run("dpkg-query", "-L", "repairlab").stdout.split()
        names = [file.removeprefix("/usr/lib/systemd/system/") for file in files]
        return [name for name in names if "/" not in name and "@" not in name and not name.endswith(".d")]

    @property
    def examples(self) -> str:
        return f"{self.release}/share/repairlab/examples"

    @property
    def release(self) -> str:
        return self.run("readlink", "-f", "/usr/bin/repairlab").stdout.strip().removesuffix("/bin/repairlab")


@pytest.fixture(scope="module")
def machine(built):
    with Lab(hidden=[PROJECT]) as lab:
        lab.boot()
        lab.run(
            "rm", "-f", "/var/lib/man-db/auto-update"
        )  # two seconds at every dpkg, for an index that man can do without
        made = Machine(lab, built)
        made.have()
        for name in ("alice", "carol"):
            lab.run("useradd", "-m", "-G", "repairlab-submit" if name == "alice" else "", name)
        yield made


@pytest.fixture(scope="module")
def carol(machine):
    """Run a command as carol, whose own service manager runs without a login."""
    lab = machine.lab
    lab.run("loginctl", "enable-linger", "carol")
    uid = lab.run("id", "-u", "carol").stdout.strip()
    lab.until(lambda: lab.run("test", "-S", f"/run/user/{uid}/bus", check=False).returncode == 0)
    env = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus"}

    def run(*argv: str, **keywords) -> subprocess.CompletedProcess[str]:
        return lab.run(*argv, user="carol", env=env, **keywords)

    return run


def test_installing_starts_nothing_and_enables_nothing(machine):
    machine.purge()
    told = machine.install(machine.debs[0])
    assert "Created symlink" not in told
    assert WATCHER in machine.units
    for name in machine.units:
        told = machine.lab.show(name, "LoadState", "ActiveState", "UnitFileState")
        assert (name, told["LoadState"], told["ActiveState"]) == (name, "loaded", "inactive")
        assert told["UnitFileState"] in {"disabled", "static"}
        if name.endswith(".service"):  # a oneshot that was started is inactive, too
            assert machine.lab.show(name, STARTED)[STARTED] == "0", name
    assert machine.run("dpkg", "--verify", "repairlab").stdout == ""
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""


def test_the_preset_enables_the_units_that_it_names_and_no_other(machine):
    machine.have()
    machine.run("systemctl", "preset", *machine.units)
    listed = machine.run("systemctl", "list-unit-files", "--state=enabled", "--no-legend", "repairlab*").stdout
    assert sorted(line.split()[0] for line in listed.splitlines()) == sorted(WANTED)
    machine.run("systemctl", "disable", "--now", *WANTED)


def test_manual_pages_completions_and_explanations_are_there(machine):
    machine.have()
    assert "repairlab" in machine.run("man", "repairlab").stdout
    for name in machine.run("sh", "-c", "ls /usr/bin/repairlab*").stdout.split():
        program = Path(name).name
        assert machine.run("man", "-w", program).stdout.strip().endswith(".1.gz")
        load = f". /usr/share/bash-completion/completions/{program}; complete -p {program}"
        assert machine.run("bash", "-c", load).stdout.split()[-1] == program
        assert "complet" in machine.run("cat", f"/usr/share/fish/vendor_completions.d/{program}.fish").stdout
    names = ["bash-completion/completions/repairlab", "zsh/vendor-completions/_repairlab"]
    for name in [*names, "fish/vendor_completions.d/repairlab.fish"]:
        assert "_REPAIRLAB_COMPLETE" in machine.run("cat", f"/usr/share/{name}").stdout
    assert "RepairLab" in machine.run("journalctl", "--list-catalog").stdout


def test_a_handoff_that_is_dropped_becomes_a_verified_challenger(machine):
    machine.serve()
    bundle = people.give(machine.lab, "alice", f"{machine.examples}/invoices", "invoices")
    job = people.end(machine.lab, people.drop(machine.lab, "alice", bundle), timeout_s=60)
    assert people.outcome(job) == "ok"
    [made] = machine.lab.until(lambda: people.challengers(machine.lab, job))
    assert made["meta_repair"] is True
    assert made["patch"]


def test_a_service_runs_nothing_from_outside_usr(machine):
    """Everything that the watcher at work and the evaluator have mapped or import, and their interpreter."""
    machine.serve()
    name = people.drop(machine.lab, "alice", people.slow(machine.lab, "alice", "read", 1))
    machine.lab.until(lambda: people.active(machine.lab, name))
    for unit in (WATCHER, "repairlab-evaluator.service"):
        pid = machine.lab.show(unit, "MainPID")["MainPID"]
        maps = machine.run("cat", f"/proc/{pid}/maps").stdout.splitlines()
        mapped = {line.split()[5] for line in maps if len(line.split()) > 5 and line.split()[5].startswith("/")}
        assert any("msgspec" in path for path in mapped), unit
        assert {path for path in mapped if not path.startswith("/usr/")} == set(), unit
        assert machine.run("readlink", f"/proc/{pid}/exe").stdout.startswith("/usr/bin/python3"), unit
    ask = "import sys; print(sys.executable, sys.prefix, sys.base_prefix, *sys.path, sep='\\n')"
    told = machine.run(f"{machine.release}/bin/python", "-I", "-c", ask).stdout.split()
    assert [path for path in told if not f"{path}/".startswith("/usr/")] == []
    assert f"{machine.release}/lib" in told[-1]
    written = machine.run("find", machine.release, "-newer", "/usr/bin/repairlab", "-type", "f").stdout
    assert written == "", "a running service changes nothing of what it consists of"
    assert people.outcome(people.end(machine.lab, name)) == "ok"


def test_a_job_that_is_in_flight_during_an_upgrade_ends_exactly_once(machine):
    lab = machine.lab
    machine.serve()
    machine.run("mkdir", "-p", "/etc/repairlab")
    machine.run("tee", "/etc/repairlab/config.toml", stdin="[watcher]\ngrace_s = 1\n")
    machine.run("systemctl", "restart", WATCHER)
    judged = people.end(lab, people.drop(lab, "alice", people.slow(lab, "alice", "judged", 1.2)))
    bundle = people.slow(lab, "alice", "inflight", 2)
    lab.until(lambda: challenger_of(lab, judged, "active"), 60)  # those of other tests come first
    # No evaluation is quicker than the upgrade: systemd continues what it terminates.
    machine.run("kill", "-STOP", lab.show("repairlab-evaluator.service", "MainPID")["MainPID"])
    name = people.drop(lab, "alice", bundle)
    lab.until(lambda: people.active(lab, name))
    assert challenger_of(lab, judged, "active")
    before = people.main_pid(lab)

    machine.install(machine.debs[1])
    assert machine.version == HIGHER
    people.back_again(lab, before)
    command = machine.run("cat", f"/proc/{people.main_pid(lab)}/cmdline").stdout
    assert "00000000deadbeef" in command
    job = people.end(lab, name, timeout_s=60)
    assert people.outcome(job) == "ok"
    assert people.found(lab, name, "*", "processed/*/*") == [job]
    events = [json.loads(line)["event"] for line in (job / "attempts.jsonl").read_text().splitlines()]
    assert events == ["started", "interrupted", "started", "finished"]
    assert machine.run("ls", "/usr/lib/repairlab").stdout.split() == ["00000000deadbeef", "gated", "root", "units"]
    [evaluated] = lab.until(lambda: challenger_of(lab, judged, "processed/*/*"), 60)
    assert people.outcome(evaluated) == "ok"
    events = [json.loads(line)["event"] for line in (evaluated / "attempts.jsonl").read_text().splitlines()]
    assert not {"failed", "crashed", "orphaned"} & set(events), events
    log = lab.at(f"{STATE}/metrics/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in log].count(evaluated.name) == 1
    machine.run("rm", "/etc/repairlab/config.toml")


def challenger_of(lab: Lab, job: Path, where: str) -> list[Path]:
    """The evaluator's job of what a job was repaired to, in one of its states."""
    jobs = [path for path in lab.at(people.CHALLENGERS).glob(f"{where}/*") if path.is_dir()]
    return [path for path in jobs if people.value(path / "job.json", "idempotency_key") == job.name]


def test_what_did_not_run_is_not_started_by_an_upgrade(machine):
    machine.serve()
    machine.run("systemctl", "stop", WATCHER)
    machine.install(machine.debs[1])
    assert machine.lab.show(WATCHER, "ActiveState", "UnitFileState") == {
        "ActiveState": "inactive",
        "UnitFileState": "enabled",
    }
    assert machine.lab.show("repairlab-cleanup.timer", "ActiveState") == {"ActiveState": "active"}


def test_a_drop_in_comes_into_force_when_another_systemd_understands_it(machine):
    machine.have()
    there = f"/usr/lib/systemd/system/{WATCHER}.d/backoff.conf"
    for version, missing in (("254", 0), ("253", 1)):
        machine.run("dpkg-trigger", "--by-package=systemd", "/lib/systemd/systemd")
        machine.run("dpkg", "--triggers-only", "repairlab", env={"SYSTEMD_VERSION": version})
        assert machine.run("test", "-e", there, check=False).returncode == missing


def test_an_installation_from_the_tree_that_hides_the_package_is_pointed_out(machine):
    hiding = f"/usr/local/lib/systemd/system/{WATCHER}"
    machine.run("mkdir", "-p", str(Path(hiding).parent))
    machine.run("tee", hiding, stdin="[Service]\nExecStart=/usr/local/bin/repairlab-queue-watcher\n")
    try:
        assert "deploy/uninstall" in machine.install(machine.debs[0])
    finally:
        machine.run("rm", hiding)
        machine.run("systemctl", "daemon-reload")
    assert "deploy/uninstall" not in machine.install(machine.debs[0])


def test_removing_leaves_the_data_and_purging_takes_it(machine):
    machine.serve()
    lab = machine.lab
    job = people.end(lab, people.drop(lab, "alice", people.give(lab, "alice", f"{machine.examples}/passing", "kept")))
    machine.run("mkdir", "-p", "/etc/repairlab")
    machine.run("tee", "/etc/repairlab/config.toml", stdin="[watcher]\n")
    machine.run("dpkg", "-r", "repairlab", timeout_s=60)
    assert (job / "telemetry.json").exists()
    assert lab.at("/etc/repairlab/config.toml").exists()
    assert lab.show(WATCHER, "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    places = ("/usr/bin", "/usr/lib/repairlab", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d")
    left = machine.run("find", *places, "/usr/share", "-name", "*repairlab*", check=False).stdout
    assert left == ""
    assert "RepairLab" not in machine.run("journalctl", "--list-catalog").stdout
    assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""

    machine.install(machine.debs[0])
    machine.run("systemctl", "start", WATCHER)
    assert job.name in machine.run("repairlab", "show", job.name).stdout, "it goes on where it was"
    # Also one that has failed, and waits for its one more chance.
    machine.run("tee", "/etc/repairlab/config.toml", stdin="[watcher]\nno_such_key = 1\n")
    assert machine.run("systemctl", "restart", WATCHER, check=False).returncode != 0
    machine.purge()
    assert machine.run("systemctl", "list-units", "--all", "--no-legend", "repairlab*").stdout == ""
    for path in (STATE, "/etc/repairlab"):
        assert not lab.at(path).exists()
    assert machine.run("find", "/etc", "-name", "*repairlab*").stdout == ""


def test_purging_empties_a_mount_and_leaves_an_installation_from_the_tree_alone(machine):
    """The script itself, as dpkg runs it when the package is gone."""
    machine.purge()
    wants, manifest = "/etc/systemd/system/multi-user.target.wants", "/usr/local/lib/repairlab/MANIFEST"
    kept = [f"{STATE}/elsewhere", f"{STATE}/elsewhere/file", f"{wants}/repairlab-mine.service"]
    prepare = f"""
mkdir -p {STATE} {wants} /etc/repairlab {manifest.rpartition("/")[0]}
touch {manifest} /etc/repairlab/config.toml
mount -t tmpfs none {STATE}
mkdir -p {STATE}/spool/repair {STATE}/elsewhere
mount -t tmpfs none {STATE}/elsewhere
touch {STATE}/spool/repair/handoff.json {STATE}/elsewhere/file
ln -s /usr/local/lib/systemd/system/repairlab-mine.service {wants}/
ln -s /usr/lib/systemd/system/repairlab-theirs.service {wants}/
"""
    look = f"find {STATE} /etc/repairlab {wants} -mindepth 1 -path '*repairlab*' | sort"
    machine.run("sh", "-ec", prepare)
    try:
        before = machine.run("sh", "-c", look).stdout.split()
        script = (PROJECT / "deploy/debian/repairlab.postrm").read_text()
        machine.run("sh", "-s", "purge", stdin=script)
        assert machine.run("sh", "-c", look).stdout.split() == [path for path in before if "theirs" not in path]
        machine.run("rm", manifest)
        machine.run("sh", "-s", "purge", stdin=script)
        assert machine.run("sh", "-c", look).stdout.split() == sorted(kept)
    finally:
        machine.run("umount", "-R", STATE)
        machine.run("rm", "-r", STATE, f"{wants}/repairlab-mine.service", manifest.rpartition("/")[0])


def test_a_person_starts_the_packages_units_without_another_installation(machine, carol):
    machine.have()
    told = json.loads(carol("repairlab", "install", "--user", "--json").stdout)
    assert told["ok"], told
    assert f"/usr/lib/systemd/user/{WATCHER}" in told["data"]["units"]
    assert told["data"]["lingers"]
    carol(*told["data"]["start"].split())
    told = json.loads(carol("repairlab", "submit", "--wait", "--json", f"{machine.examples}/passing").stdout)
    assert told["ok"], told
    assert machine.run("find", "/home/carol", "-name", "pyvenv.cfg").stdout == ""

    before = carol("systemctl", "--user", "show", WATCHER, "-pMainPID").stdout
    machine.install(machine.debs[1])
    shown = ("systemctl", "--user", "show", WATCHER, "-pMainPID")
    running = "SubState=running"
    machine.lab.until(lambda: running in carol(*shown, "-pSubState").stdout and carol(*shown).stdout != before)
    pid = carol(*shown).stdout.strip().removeprefix("MainPID=")
    assert "00000000deadbeef" in machine.run("cat", f"/proc/{pid}/cmdline").stdout
    carol("systemctl", "--user", "disable", "--now", *WANTED)


def test_an_older_installation_of_ones_own_is_found_out(machine, carol):
    machine.have()
    own = "/home/carol/.local/share/systemd/user"
    carol("mkdir", "-p", own)
    carol("tee", f"{own}/{WATCHER}", stdin="[Service]\nExecStart=/home/carol/.local/bin/repairlab-queue-watcher\n")
    done = carol("repairlab", "install", "--user", check=False)
    assert done.returncode == 69
    assert f"does not use /usr/lib/systemd/user/{WATCHER} but {own}/{WATCHER}" in done.stderr
    carol("rm", f"{own}/{WATCHER}")
    assert carol("repairlab", "install", "--user", "--dry-run").returncode == 0


def test_a_person_without_a_service_manager_is_told_so(machine):
    machine.have()
    done = machine.run("repairlab", "install", "--user", user="alice", check=False)
    assert done.returncode == 69
    assert "loginctl enable-linger alice" in done.stderr
