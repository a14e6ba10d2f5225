"""repairlab-cleanup, the real program: what it prints, its exit codes, its one line of journal, one at a time."""

import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from repairlab import config, documents
from repairlab.spool import Clock, Job, Policy, Spool

BIN = Path(__file__).resolve().parents[2] / "bin"
NOW = datetime(2026, 3, 20, 12, 0, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


class Then(Clock):
    """A clock whose wall shows what a test sets."""

    now = NOW

    def wall(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state"


def ended(root: Path, at: datetime) -> Job:
    """A job that was done at an instant."""
    clock = Then()
    clock.now = at
    spool = Spool(root / "spool" / "repair", policy=Policy(settle_s=0), clock=clock)
    spool.create()
    spool.publish(documents.encode(documents.Handoff(bundle_dir="/srv/x", reason=str(at))))
    (job,) = [claim.finish() for claim in spool.claims()]
    return job


def cleanup(root: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "REPAIRLAB_ROOT": str(root), **environ}
    program = [sys.executable, str(BIN / "repairlab-cleanup"), *argv]
    return subprocess.run(program, capture_output=True, text=True, env=env, timeout=30)


def test_the_program_lists_dry_and_removes_for_real_with_one_line_of_journal(root):
    job = ended(root, NOW - WEEK)
    dry = cleanup(root, "--dry-run", "--now", NOW.isoformat())
    assert (dry.returncode, dry.stderr) == (0, "")
    kind, size, path = dry.stdout.rstrip("\n").split("\t")
    assert (kind, path, int(size) > 0) == ("processed", job.path, True)
    real = cleanup(root, "--json", "--now", NOW.isoformat())
    data = json.loads(real.stdout)["data"]
    assert [item["path"] for item in data["removed"]] == [job.path]
    assert data["kinds"]["processed"] == {"paths": 1, "bytes": int(size)}
    assert not Path(job.path).exists()
    if not os.path.exists("/run/systemd/journal/socket"):
        (line,) = real.stderr.splitlines()
        assert "removed 1 processed, 0 challengers, 0 bundles, 0 work" in line


def test_what_deaths_left_in_a_queue_that_nobody_serves_goes_but_not_in_a_dry_run(root):
    ended(root, NOW)
    tmp = config.llm_requests_dir(root) / "tmp"
    tmp.mkdir(parents=True)
    (tmp / "trash-a").mkdir()
    (tmp / "publish-1-young").touch()
    assert cleanup(root, "--dry-run").returncode == 0
    assert sorted(os.listdir(tmp)) == ["publish-1-young", "trash-a"]
    assert cleanup(root).returncode == 0
    assert os.listdir(tmp) == ["publish-1-young"]


def test_the_limits_are_those_of_the_configuration(root):
    ended(root, NOW - timedelta(days=2))
    argv = ("--dry-run", "--now", NOW.isoformat())
    assert cleanup(root, *argv).stdout == ""
    assert cleanup(root, *argv, REPAIRLAB_CLEANUP_PROCESSED_DAYS="2").stdout.startswith("processed\t")


def test_a_queue_that_only_a_producer_has_touched_keeps_the_bundle_that_it_names(root):
    (root / "spool" / "repair").mkdir(parents=True)
    mine = root / "bundles" / "mine"
    mine.mkdir(parents=True)
    os.utime(mine, (0, 0))
    handoff = documents.encode(documents.Handoff(bundle_dir=str(mine)))
    arrival = root / "spool" / "repair" / "handoff.json"
    arrival.write_bytes(handoff)
    assert cleanup(root).returncode == 0
    assert mine.exists()
    arrival.unlink()
    assert cleanup(root).stdout.endswith(f"\t{mine}\n")
    assert not mine.exists()


def test_two_cleanups_do_not_run_at_once(root):
    root.mkdir()
    with FileLock(root / "cleanup.lock"):
        done = cleanup(root, "--json")
    assert done.returncode == os.EX_TEMPFAIL
    assert "another cleanup" in json.loads(done.stdout)["error"]["message"]


def test_nobody_else_can_hold_the_lock(root):
    root.mkdir()
    assert cleanup(root).returncode == 0
    lock = root / "cleanup.lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    lock.chmod(0o640)  # an earlier release made it so
    assert cleanup(root).returncode == 0
    assert lock.stat().st_mode & 0o777 == 0o600


def test_a_run_that_could_not_remove_everything_says_try_again_later(root):
    path = ended(root, NOW - WEEK).path
    handle = os.open(path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # an operator has it in hand
    done = cleanup(root, "--json", "--now", NOW.isoformat())
    os.close(handle)
    envelope = json.loads(done.stdout)
    assert done.returncode == os.EX_TEMPFAIL == envelope["error"]["code"]
    assert [item["path"] for item in envelope["data"]["failed"]] == [path]
    assert Path(path).exists()


@pytest.mark.parametrize("now", ["yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_an_instant_without_an_offset_is_refused(root, now):
    assert cleanup(root, "--now", now).returncode == os.EX_USAGE


def test_a_state_directory_that_is_not_there_is_nothing_to_clean(tmp_path):
    done = cleanup(tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.root
def test_a_cleanup_by_root_leaves_a_lock_that_the_owner_of_the_root_can_take(root):
    ended(root, NOW)
    os.chown(root, 65534, 65534)
    assert cleanup(root).returncode == 0
    lock = root / "cleanup.lock"
    assert not lock.exists() or lock.stat().st_uid == 65534
