"""people: what those who use an installed RepairLab do, and where they look."""

import itertools
import json
from pathlib import Path

from lab import Lab

STATE = "/var/lib/repairlab"
QUEUE = f"{STATE}/spool/repair"
CHALLENGERS = f"{STATE}/spool/challengers"
WATCHER = "repairlab-queue-watcher.service"
SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
# Every unit that is shipped for the system's manager, templates among them.
UNITS = sorted(path.name for path in SYSTEMD.glob("repairlab*.*") if path.is_file() and path.suffix != ".catalog")
SOURCE = "/usr/src/repairlab"  # where the machine has the project
EXAMPLES = f"{SOURCE}/examples"
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


def outcome(job: Path) -> str:
    """Which of the terminal states a job lies in; other than ok, how it came to that."""
    state = job.parent.parent.name
    if state != "ok":
        print((job / "attempts.jsonl").read_text() if (job / "attempts.jsonl").exists() else "no attempt")
    return state


def challengers(lab: Lab, job: Path) -> list[dict]:
    """What has been published for a job, waiting or not."""
    paths = lab.at(CHALLENGERS).glob(f"challenger_{job.name}*.json")
    return [json.loads(path.read_bytes()) for path in paths]


def main_pid(lab: Lab) -> int:
    return int(lab.show(WATCHER, "MainPID")["MainPID"])


def back_again(lab: Lab, before: int, timeout_s: float = 30) -> None:
    """Wait until the watcher runs as another process than `before`."""

    def other() -> bool:
        state = lab.show(WATCHER, "MainPID", "SubState")
        return state["SubState"] == "running" and int(state["MainPID"]) not in {0, before}

    lab.until(other, timeout_s)
