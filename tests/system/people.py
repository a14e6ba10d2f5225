"""people: what those who use an installed RepairLab do, and where they look."""

import itertools
import json
import subprocess
from pathlib import Path

from lab import Lab

STATE = "/var/lib/repairlab"
QUEUE = f"{STATE}/spool/repair"
CHALLENGERS = f"{STATE}/spool/challengers"
WATCHER = "repairlab-queue-watcher.service"
SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
# Every unit that is shipped for the system's manager, templates among them.
UNITS = sorted(path.name for path in SYSTEMD.glob("repairlab*.*") if path.is_file() and path.suffix != ".catalog")
# What programs keep below the state directory when they need it, as others may not write there.
WRITTEN_LATER = (
    *("reports", "metrics", "patches", "champions", "patterns", "escalations", "sbom", "specder"),
    *("llm/requests", "llm/responses", "heartbeats", "health", "incidents"),
)
SOURCE = "/usr/src/repairlab"  # where the machine has the project
EXAMPLES = f"{SOURCE}/examples"
HOSTILE = """
import os, sys
os.chdir(sys.argv[1])
os.symlink("/etc", "etc"), os.symlink("/etc/passwd", "passwd"), os.mkfifo("fifo")
os.mkdir("closed"), open("closed/file", "w").close(), os.chmod("closed", 0)
os.mkdir("readonly"), open("readonly/file", "w").close(), os.chmod("readonly", 0o555)
os.mkdir("listed"), open("listed/file", "w").close(), os.chmod("listed", 0o744)
open("future", "w").close(), os.utime("future", (4e9, 4e9))
here = os.getcwd()
for _ in range(100):
    os.mkdir("deep"), os.chdir("deep")
os.chdir(here)
"""
DEEP = """
import os, sys
os.chdir(sys.argv[1])
here = os.getcwd()
for name, depth in (("d", 1500), ("d" * 200, 25)):
    os.mkdir(f"{len(name)}"), os.chdir(f"{len(name)}")
    for _ in range(depth):
        os.mkdir(name), os.chdir(name)
    os.chdir(here)
"""
RACE = """
import os, sys
os.chdir(sys.argv[1])
open("begun", "w").close()
while True:
    try:
        os.makedirs("swapped/deep/deeper"), open("swapped/file", "w").close(), os.chmod("swapped/deep", 0)
        os.rename("swapped", "away"), os.symlink(sys.argv[2], "swapped")
        os.unlink("swapped"), os.rename("away", "swapped")
    except OSError:
        os.system("chmod -R 700 . ; rm -rf away swapped")
"""
_numbers = itertools.count(1)


def give(lab: Lab, user: str, source: str, name: str) -> str:
    """Copy a directory to where producers may put bundles; return its path."""
    target = f"{STATE}/bundles/{name}"
    lab.run("cp", "-r", source, target, user=user)
    return target


def slow(lab: Lab, user: str, name: str, seconds: float) -> str:
    """Give a bundle that needs no repair and whose one test takes that long; return its path."""
    source = f"/home/{user}/{name}"
    test = f"import time\n\n\ndef test_it_takes_its_time():\n    time.sleep({seconds})\n    assert {name!r}\n"
    lab.run("mkdir", source, user=user)
    lab.run("tee", f"{source}/test_slow.py", stdin=test, user=user)
    return give(lab, user, source, name)


def drop(lab: Lab, user: str, bundle: str, **fields: object) -> str:
    """Hand in with a plain `cp` into the queue; return the name that the job had there."""
    name = f"handoff-{user}-{next(_numbers)}.json"
    document = {"schema": "handoff/1", "bundle_dir": bundle, "idempotency_key": name, **fields}
    lab.run("tee", f"/home/{user}/{name}", stdin=json.dumps(document), user=user)
    lab.run("cp", f"/home/{user}/{name}", QUEUE, user=user)
    return name


def found(lab: Lab, name: str, *states: str) -> list[Path]:
    """The directories of the job that arrived under this name, in these states (a glob below the queue each)."""
    jobs = [job for state in states for job in lab.at(QUEUE).glob(f"{state}/*") if job.is_dir()]
    return [job for job in jobs if name in (value(job / "claim", "name"), value(job / "job.json", "idempotency_key"))]


def value(path: Path, key: str) -> object:
    """A member of a JSON file; a claim is not synced, so that a power cut may leave it empty or not at all."""
    try:
        return json.loads(path.read_bytes()).get(key)
    except (FileNotFoundError, ValueError):
        return None


def active(lab: Lab, name: str) -> list[Path]:
    return found(lab, name, "active")


def ended(lab: Lab, name: str) -> list[Path]:
    return found(lab, name, "processed/*/*")


def end(lab: Lab, name: str, timeout_s: float = 40) -> Path:
    """Wait for a job's end; return its directory."""
    lab.until(lambda: ended(lab, name), timeout_s)
    (there,) = ended(lab, name)
    return there


def unfinished(lab: Lab) -> list[Path]:
    """What waits, runs or is put off; whatever it names is kept."""
    queue = lab.at(QUEUE)
    handed_in = [path for path in queue.glob("handoff*.json") if path.is_file()]  # a directory stays there
    return handed_in + [path for place in ("active/*", "deferred/*") for path in queue.glob(place)]


def outcome(job: Path) -> str:
    """Which of the terminal states a job lies in; other than ok, how it came to that."""
    state = job.parent.parent.name
    if state != "ok":
        print((job / "attempts.jsonl").read_text() if (job / "attempts.jsonl").exists() else "no attempt")
    return state


def challengers(lab: Lab, job: Path) -> list[dict]:
    """What has been published for a job, whether it waits or an evaluator has taken it."""
    queue, found = lab.at(CHALLENGERS), {}
    places = ("challenger_*.json", "active/*/job.json", "deferred/*/job.json", "processed/*/*/*/job.json")
    for path in [path for place in places for path in queue.glob(place)]:
        if value(path, "idempotency_key") == job.name:
            found[job.name, path.read_bytes() if path.exists() else b""] = path
    return [json.loads(raw) for _, raw in found if raw]


def lineage_of(lab: Lab, user: str, name: str) -> str:
    """What a lineage of somebody's is called in the tournament."""
    return f"{name}.{lab.run('id', '-u', user).stdout.strip()}"


def main_pid(lab: Lab) -> int:
    return int(lab.show(WATCHER, "MainPID")["MainPID"])


def back_again(lab: Lab, before: int, timeout_s: float = 30) -> None:
    """Wait until the watcher runs as another process than `before`."""

    def other() -> bool:
        state = lab.show(WATCHER, "MainPID", "SubState")
        return state["SubState"] == "running" and int(state["MainPID"]) not in {0, before}

    lab.until(other, timeout_s)


def repairlab(lab: Lab, user: str, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as that user, who has not said which state directory is meant."""
    done = lab.run("repairlab", *argv, user=user, env=env, check=False, timeout_s=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def may(lab: Lab, user: str, *argv: str) -> bool:
    return lab.run(*argv, user=user, check=False).returncode == 0


def inside(lab: Lab, path: Path) -> str:
    """The path of a file as those in the machine call it."""
    return "/" + str(path.relative_to(lab.at("/")))


def files_named(lab: Lab, name: str) -> str:
    return lab.run("find", f"{QUEUE}/processed/ok", "-name", name).stdout.strip()


def years_later(lab: Lab) -> None:
    """Let the unit of the cleanup take everything for old."""
    drop_in = "/run/systemd/system/repairlab-cleanup.service.d/now.conf"
    lab.run("mkdir", "-p", drop_in.rpartition("/")[0])
    program = "/usr/local/bin/repairlab-cleanup --now 2100-01-01T00:00:00Z"
    lab.run("tee", drop_in, stdin=f"[Service]\nExecStart=\nExecStart={program}\n")
    lab.run("systemctl", "daemon-reload")
