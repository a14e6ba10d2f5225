"""The main job with nothing replaced: real watcher, real agent, real sandbox, real command line, real patch tools."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from room import Room

from repairlab.documents import Challenger, Handoff, decode
from repairlab.sandbox.bundle import tree_hash
from repairlab.spool import State

PROJECT = Path(__file__).parents[2]
EXAMPLES = PROJECT / "examples"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Room]:
    """A state directory whose watchers run the built-in agent."""
    with Room(tmp_path / "state") as made:
        yield made


def repairlab(here: Room, *argv: str, code: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, PROJECT / "bin" / "repairlab", *argv], env=here.environment, capture_output=True, text=True
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout


def plain_pytest(tree: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True).returncode


def test_three_modules_with_two_failing_tests_wake_up_to_a_patch_that_git_and_patch_apply(here, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(EXAMPLES / "invoices", mine, ignore=shutil.ignore_patterns("__pycache__"))
    before = tree_hash(mine)
    watcher = here.start()
    said = json.loads(repairlab(here, "submit", str(mine), "--wait", "--json"))
    assert here.stop(watcher) == 0
    assert said["ok"]

    assert tree_hash(mine) == before
    (path,) = here.challengers.path.glob("challenger_*.json")
    challenger = decode(path.read_bytes(), Challenger, max_bytes=1 << 25)
    job = here.job(challenger.idempotency_key)
    assert job.state is State.OK
    assert challenger.meta_repair
    assert challenger.parent_sha256 == before == tree_hash(Path(challenger.bundle_dir))
    assert challenger.patch.count("--- a/") == 2

    diff = repairlab(here, "show", job.id, "--diff")
    assert diff == challenger.patch
    for tool in (["git", "apply", "-"], ["patch", "-p1"]):
        copy = tmp_path / tool[0]
        shutil.copytree(mine, copy)
        assert plain_pytest(copy) == 1
        subprocess.run(tool, cwd=copy, input=diff, text=True, check=True, capture_output=True)
        assert plain_pytest(copy) == 0
        shutil.rmtree(copy / "__pycache__", ignore_errors=True)
        assert tree_hash(copy) == challenger.bundle_sha256


def test_a_hopeless_project_is_given_up_after_three_tries_each_harder_than_the_last(here: Room) -> None:
    here.settings["AGENT_WALL_S"] = "4"
    watcher = here.start()
    said = json.loads(repairlab(here, "submit", str(EXAMPLES / "hopeless"), "--wait", "--json", code=1))
    assert not said["ok"]
    (first,) = here.ended()
    job = here.job(first)
    assert job.state is State.HARD_FAIL
    tries = [event for event in job.attempts() if event["event"] == "started"]
    assert [event["effort"] for event in tries] == [1, 2, 3]

    again = json.loads(
        repairlab(here, "submit", str(EXAMPLES / "hopeless"), "--key", "again", "--wait", "--json", code=1)
    )
    assert not again["ok"]
    assert here.stop(watcher) == 0
    (second,) = here.ended().keys() - {first}
    assert first in here.job(second).reason()["reason"]
    assert "started" not in here.events(second)


def test_a_project_that_passes_already_is_a_challenger_without_a_repair(here) -> None:
    job_id = here.drop(shutil.copytree(EXAMPLES / "passing", here.bundles / "passing"))
    here.once()
    assert here.job(job_id).state is State.OK
    (path,) = here.challengers.path.glob("challenger_*.json")
    challenger = decode(path.read_bytes(), Challenger)
    assert not challenger.meta_repair
    assert challenger.patch == ""
    assert challenger.bundle_sha256 == challenger.parent_sha256


def bad_bundles(here: Room, tmp_path: Path) -> dict[str, str]:
    """Return bundle_dir → words that the reason must hold, one for every bundle that a watcher must refuse."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "test_x.py").write_text("def test_x(): assert False\n")
    (here.bundles / "link").symlink_to(outside)
    (here.bundles / "file").write_text("not a directory\n")
    os.mkfifo(here.bundles / "fifo")
    (here.bundles / "empty").mkdir()

    def broken(name: str) -> Path:
        path = here.bundle(name, test_x_py="def test_x(): assert False\n")
        assert isinstance(path, Path)
        return path

    os.mkfifo(broken("fifo-inside") / "pipe")
    (broken("link-out") / "passwd").symlink_to("/etc/passwd")
    (broken("link-loop") / "loop").symlink_to("loop")
    (broken("huge") / "zeros").touch()
    os.truncate(here.bundles / "huge" / "zeros", 10 << 30)  # sparse: 10 GB that nobody stores
    crowd = broken("crowd")
    for number in range(20_001):
        (crowd / f"{number}.txt").touch()
    with open(os.fsencode(broken("name")) + b"/\xff.py", "w"):
        pass
    return {
        "/nonexistent/place": "roots",
        str(here.bundles / "nothing"): "No such file",
        "relative/path": "absolute",
        str(outside): "roots",
        f"{here.bundles}/../../outside": "roots",
        str(here.bundles / "link"): "roots",
        str(here.bundles / "file"): "directory",
        str(here.bundles / "fifo"): "directory",
        str(here.bundles / "empty"): "",
        str(here.bundles / "fifo-inside"): "pipe",
        str(here.bundles / "link-out"): "passwd",
        str(here.bundles / "link-loop"): "loop",
        str(here.bundles / "huge"): "bytes",
        str(crowd): "20000",
        str(here.bundles / "name"): "UTF-8",
        "/dev/zero": "roots",
    }


def bad_documents() -> dict[str, tuple[bytes, str]]:
    """Return name → (bytes, words that the reason must hold) for documents that no bundle can save."""
    return {
        "malformed": (b'{"bundle_dir": }', "JSON"),
        "empty": (b"", "empty"),
        "large": (b'{"bundle_dir": "' + b"x" * (100 << 20) + b'"}', "bytes"),
        "deep": (b'{"bundle_dir": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nests"),
        "latin": ('{"bundle_dir": "é"}'.encode("latin-1"), "UTF-8"),
        "twice": (b'{"bundle_dir": "/a", "bundle_dir": "/b"}', "twice"),
        "nan": (b'{"bundle_dir": "/a", "ts": NaN}', "JSON"),
        "list": (b'["bundle_dir"]', "array"),
        "missing": (b'{"source": "me"}', "missing"),
        "type": (b'{"bundle_dir": 7}', "str"),
        "lineage": (b'{"bundle_dir": "/a", "lineage": "../../x"}', "regex"),
        "half": (b'{"bundle_dir": "/a', "JSON"),
    }


def test_no_bad_input_stops_another_job_and_each_says_what_to_do(here, tmp_path: Path) -> None:
    watcher = here.start()
    wanted: dict[str, tuple[str, bytes | None]] = {}
    for number, (bundle, words) in enumerate(bad_bundles(here, tmp_path).items()):
        raw = json.dumps({"bundle_dir": bundle}).encode()
        (here.queue.path / f"handoff-bundle-{number}.json").write_bytes(raw)
        wanted[f"handoff-bundle-{number}.json"] = (words, raw)
    for name, (raw, words) in bad_documents().items():
        (here.queue.path / f"handoff-{name}.json").write_bytes(raw)
        wanted[f"handoff-{name}.json"] = (words, raw)
    os.mkfifo(here.queue.path / "handoff-fifo.json")
    (here.queue.path / "handoff-directory.json").mkdir()
    (here.queue.path / "handoff-link.json").symlink_to("/etc/passwd")
    wanted |= {f"handoff-{kind}.json": ("", None) for kind in ("fifo", "directory", "link")}
    odd = os.fsencode(here.queue.path) + b"/handoff-\xff.json"
    with open(odd, "wb") as file:
        file.write(b"{}")

    good = here.drop(shutil.copytree(EXAMPLES / "invoices", here.bundles / "invoices"), note="unknown fields are kept")
    assert here.wait_state(good, State.OK, within_s=60).document().endswith(b'"unknown fields are kept"}')
    rejected = here.wait(lambda: len(found := here.jobs(State.REJECTED)) == len(wanted) + 1 and found, within_s=60)
    assert here.stop(watcher) == 0

    by_name = {job.name: job for job in rejected.values()}
    for name, (words, raw) in wanted.items():
        reason = by_name[name].reason()
        assert words in f"{reason['reason']} {reason.get('fix', '')}", (name, reason)
        assert reason.get("fix"), (name, reason)
        if raw is not None:
            assert (Path(by_name[name].path) / "job.json").read_bytes() == raw
            assert reason["field"] if "bundle" in name else True, (name, reason)
    listed = repairlab(here, "list", "--json")
    assert all(job_id in listed for job_id in rejected)
    for job_id, job in rejected.items():
        shown = json.loads(repairlab(here, "show", job_id, "--json"))["data"][0]
        assert job.reason()["reason"] in shown["reason"]
        assert job_id in here.said()
    assert not here.queue.fsck()


def test_a_handoff_that_people_write_by_hand_is_the_documented_one() -> None:
    for template in EXAMPLES.glob("*/handoff.json"):
        document = json.loads(template.read_bytes()) | {"bundle_dir": "/filled/in/by/submit"}
        decode(json.dumps(document).encode(), Handoff)
