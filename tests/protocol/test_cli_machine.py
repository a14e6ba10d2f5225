"""The commands about the machine: configuration, doctor, fsck, completion, and how quick --help is."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repairlab import documents
from repairlab.spool import Policy, Spool

BIN = Path(__file__).resolve().parents[2] / "bin"
PROGRAM = [sys.executable, str(BIN / "repairlab")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def queue(root: Path) -> Spool:
    spool = Spool(root / "spool" / "repair", policy=Policy(settle_s=0))
    spool.create()
    return spool


def handoff() -> bytes:
    return documents.encode(documents.Handoff(bundle_dir="/srv/bundle"))


def run(root: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "REPAIRLAB_ROOT": str(root), **environ}
    return subprocess.run([*PROGRAM, *argv], capture_output=True, text=True, env=env, timeout=30)


def test_a_wrong_configuration_is_78_for_commands_that_need_it(root, queue):
    done = run(root, "list", "--json", REPAIRLAB_QUEUE_FAILURES="x")
    assert done.returncode == os.EX_CONFIG
    assert json.loads(done.stdout)["error"]["field"] == "$REPAIRLAB_QUEUE_FAILURES"
    assert run(root, "config", "check", REPAIRLAB_QUEUE_FAILURES="x").returncode == os.EX_CONFIG


def test_a_configuration_is_written_checked_and_shown_with_its_origins(root, tmp_path):
    path = tmp_path / "c.toml"
    assert run(root, "config", "init", str(path)).stdout.strip() == str(path)
    assert run(root, "config", "init", str(path)).returncode == os.EX_USAGE
    path.write_text(path.read_text().replace("# failures = 3", "failures = 5"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if text == "failures = 5")
    shown = run(root, "config", "show", "--origin", REPAIRLAB_CONFIG=str(path)).stdout
    assert f"queue.failures\t5\t{path}:{line}\n" in shown
    assert "queue.crashes\t3\tdefault\n" in shown
    assert run(root, "config", "check", REPAIRLAB_CONFIG=str(path)).stdout == f"ok: {path}\n"


def test_fsck_finds_nothing_in_a_sound_queue_and_something_in_a_broken_one(root, queue):
    queue.publish(handoff())
    (job_id,) = [claim.finish().id for claim in queue.claims()]
    assert run(root, "fsck").stdout == ""
    (Path(queue.find(job_id).path) / "job.json").unlink()
    done = run(root, "fsck", "--json")
    assert done.returncode == 1
    assert job_id in json.loads(done.stdout)["data"][0]["path"]


def test_the_doctor_tells_each_check_with_its_fix(root, queue):
    done = run(root, "doctor", "--json")
    checks = json.loads(done.stdout)["data"]
    assert {check["status"] for check in checks} <= {"ok", "warn", "fail"}
    assert all(check["fix"] for check in checks if check["status"] == "fail")
    names = {check["name"] for check in checks}
    assert names - {"linger"} == {
        *["python", "packages", "journal", "config", "sandbox", "state", "queue", "bundles", "disk", "inotify", "clock"]
    } | ({"memory", "watcher", "escalations"})


def test_the_doctor_fails_where_jobs_would_not_run(root, queue, tmp_path):
    os.chmod(root, 0o777)
    done = run(root, "doctor", "--only", "state", "--only", "bundles", REPAIRLAB_BUNDLES_ROOTS='["/nonexistent"]')
    assert done.returncode == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["fail", "state"], ["fail", "bundles"]]
    assert rows[0][3] == f"chmod o-w {root}"


@pytest.fixture
def entered():
    """A root that others may enter: every run of pytest, also a neighbour's, closes pytest's own directory again."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        root = Path(directory, "state")
        Spool(root / "spool/repair").create()
        (root / "bundles").mkdir()
        for path in (root, root / "spool"):
            path.chmod(0o755)
        yield root


@pytest.mark.root
def test_the_doctor_asks_of_a_producer_only_what_a_producer_needs(entered):
    from repairlab.operate.app import App
    from repairlab.operate.checks.state import directory

    def as_nobody() -> str:
        """Ask in a child that has given up root; access(2) answers for the real uid."""
        reader, writer = os.pipe()
        if not os.fork():
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os.write(writer, next(directory(App(entered))).status.encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            said = answer.read()
        os.wait()
        return said

    assert as_nobody() == "fail"
    for path in ("bundles", "spool/repair", "spool/repair/tmp"):
        (entered / path).chmod(0o1777)
    assert as_nobody() == "ok"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_for_each_shell(root, shell):
    script = run(root, "completion", shell).stdout
    assert "_REPAIRLAB_COMPLETE" in script
    programs = {path.name for path in BIN.iterdir()} - {"repairlab"}
    assert {program for program in programs if program in script} == programs


def test_a_shell_completes_the_options_of_every_program(root):
    script = run(root, "completion", "bash").stdout
    programs = sorted(path.name for path in BIN.iterdir() if path.name != "repairlab")
    ask = "".join(f"complete -p {program}\n" for program in programs)
    told = subprocess.run(["bash", "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    for program, line in zip(programs, told.stdout.splitlines(), strict=True):
        helped = subprocess.run([sys.executable, BIN / program, "--help"], capture_output=True, text=True, check=True)
        options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", helped.stdout, re.MULTILINE))
        assert "--help" in options
        assert options <= set(re.findall(r"--[a-z-]+", line)), program


def test_the_shell_completes_commands_and_job_ids(root, queue):
    job_id = queue.publish(handoff()).id
    asked = {"_REPAIRLAB_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    assert "plain,submit" in run(root, COMP_WORDS="repairlab su", **asked).stdout
    asked["COMP_CWORD"] = "2"
    assert f"plain,{job_id}" in run(root, COMP_WORDS=f"repairlab show {job_id[:4]}", **asked).stdout


def test_help_imports_nothing_heavy_and_feels_instant(root, tmp_path):
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "pyc")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    took = []
    for _ in range(5):  # the first one compiles
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, env=env, timeout=30)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert "submit" in done.stdout
    # Processor time: it is the wall time of an idle machine, and a busy one does not stretch it to several times that.
    assert min(took) < 0.150
    argv = [sys.executable, "-X", "importtime", *PROGRAM[1:], "--help"]
    imported = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=30).stderr
    assert "repairlab.operate.main" in imported
    heavy = ("msgspec", "orjson", "rich", "watchdog", "pytest", "filelock", "repairlab.spool", "repairlab.sandbox")
    assert not [name for name in heavy if re.search(rf"\| +{name}$", imported, re.MULTILINE)]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A clone whose python3 has no packages."""
    for name in ("bin", "src"):
        shutil.copytree(BIN.parent / name, tmp_path / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "clone" / "setup.sh").touch()
    return tmp_path / "clone"


@pytest.mark.parametrize("program", ["repairlab", "repairlab-agent", "repairlab-cleanup", "repairlab-queue-watcher"])
def test_a_program_of_a_checkout_finds_its_packages_or_says_what_brings_them(checkout, program):
    argv = [sys.executable, "-S", str(checkout / "bin" / program), "--help"]
    lacking = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert lacking.returncode == 69
    assert lacking.stderr.count("\n") == 1
    assert f"`{checkout}/setup.sh venv`" in lacking.stderr
    (checkout / ".venv").symlink_to(sys.prefix)
    found = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert found.returncode == 0, found.stderr
    assert found.stdout.lower().startswith(f"usage: {program}")


def test_the_doctor_knows_no_check_of_that_name(root):
    done = run(root, "doctor", "--only", "sandbx")
    assert (done.returncode, done.stdout) == (64, "")
    assert "name one of python, " in done.stderr


def test_a_watcher_of_another_state_directory_is_not_ours():
    user = 65534 if os.geteuid() == 0 else None  # as the service's user, whose environment root may read
    argv = ["/bin/sh", "-s", "repairlab-queue-watcher"]
    for name in ("elsewhere", "state"):
        environ = {"REPAIRLAB_ROOT": f"/nowhere/{name}"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(argv, env=environ, user=user, cwd="/", **pipes) as watcher:
            watcher.stdin.write(b"echo\n")
            watcher.stdin.flush()
            watcher.stdout.readline()
            told = json.loads(run(Path("/nowhere/state"), "doctor", "--only", "watcher", "--json").stdout)["data"][0]
            watcher.kill()
        assert (str(watcher.pid) in re.findall(r"\d+", told["why"])) is (name == "state")


def test_the_doctor_starts_no_unit_that_would_serve_another_directory(tmp_path):
    told = json.loads(run(tmp_path / "state", "doctor", "--only", "watcher", "--json").stdout)["data"][0]
    if told["status"] == "ok":
        pytest.skip("somebody else's watcher runs, and does not say what it serves")
    assert told["fix"] == f"`repairlab-queue-watcher --root {tmp_path}/state`"


def test_config_alone_is_a_question_for_help(root):
    done = run(root, "config")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Print the settings in force.\n" in done.stdout


def test_install_is_for_one_person_and_says_who_installs_for_the_machine(root):
    done = run(root, "install")
    assert done.returncode == os.EX_USAGE
    assert "--user" in done.stderr
    assert "deploy/install as root" in done.stderr


def test_install_from_a_source_tree_says_what_it_would_write_and_writes_nothing(root, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "XDG_DATA_HOME": str(home / "share")}
    done = run(root, "install", "--user", "--dry-run", "--json", **own)
    assert done.returncode == 0, done.stderr
    assert f"{home}/share/systemd/user/repairlab-queue-watcher.service" in done.stderr
    assert f"{home}/.local/bin/repairlab " in done.stderr
    assert json.loads(done.stdout)["data"]["units"] == []
    assert list(home.iterdir()) == []


def test_an_installer_that_refuses_is_passed_on_with_what_it_said(root, tmp_path):
    done = run(root, "install", "--user", "--dry-run", HOME=str(tmp_path), PYTHON="/nonexistent/python")
    assert done.returncode == os.EX_UNAVAILABLE
    assert "no Python 3.11 or newer in PYTHON=/nonexistent/python" in done.stderr


def test_a_repairlab_without_units_says_where_to_get_them(tmp_path):
    shutil.copytree(BIN.parent / "src/repairlab", tmp_path / "repairlab")
    start = f"import sys; sys.path.insert(0, '{tmp_path}'); from repairlab.errors import reported; "
    start += "from repairlab.operate.main import main; sys.exit(reported(main, sys.argv[1:]))"
    argv = [sys.executable, "-c", start, "install", "--user"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == os.EX_UNAVAILABLE
    assert "install the package, or run `deploy/install --user`" in done.stderr
