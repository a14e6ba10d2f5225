"""What may be dropped into a queue, by whom, how slowly and how often: each becomes one job or waits its turn."""

import errno
import fcntl
import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest

from repairlab.errors import BadInput, TemporaryFailure
from repairlab.spool import Policy, Spool, State

DOC = b'{"bundle_dir":"/b"}'
OLD = 1_000_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "q")
    spool.create()
    return spool


def drop(spool: Spool, name: str = "handoff.json", data: bytes = DOC) -> Path:
    path = spool.path / name
    path.write_bytes(data)
    return path


def take(spool: Spool):
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        return backlog.take()


def test_plain_copy_becomes_a_job(spool: Spool) -> None:
    drop(spool)
    claim = take(spool)
    assert claim.read() == DOC
    assert claim.name == "handoff.json"
    assert claim.submitter == os.getuid()
    assert claim.lineage == f"uid-{os.getuid()}"
    assert (claim.path / "job.json").read_bytes() == DOC


def test_other_names_are_left_alone_and_reported_as_strays(spool: Spool) -> None:
    drop(spool, "handoff.json.part")
    drop(spool, "readme.txt")
    assert take(spool) is None
    assert {Path(stray.path).name for stray in spool.strays()} == {"handoff.json.part", "readme.txt"}


def test_file_still_open_for_writing_is_not_taken(spool: Spool) -> None:
    path = drop(spool)
    with path.open("ab"):
        assert take(spool) is None
    assert take(spool) is not None


def test_control_the_lease_is_what_keeps_an_open_file_waiting(spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr("repairlab.spool.taking.lease", lambda _: True)
    path = drop(spool)
    with path.open("ab"):
        assert take(spool) is not None


@pytest.mark.parametrize("half", [b"", b"  \n", b'{"bundle_dir": "/b', b"[1, 2"])
def test_half_written_file_is_left_to_settle_then_taken(tmp_path: Path, half: bytes) -> None:
    slow = Spool(tmp_path, policy=Policy(settle_s=3600))
    slow.create()
    drop(slow, data=half)
    assert take(slow) is None
    assert slow.counts()[State.WAITING] == 1
    assert take(Spool(tmp_path, policy=Policy(settle_s=0))) is not None


def test_file_without_a_lease_must_be_quiet_for_the_settle_time(tmp_path: Path, monkeypatch) -> None:
    def refused(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(errno.EACCES, "no CAP_LEASE")
        return 0

    monkeypatch.setattr("repairlab.spool.arrival.fcntl.fcntl", refused)
    slow = Spool(tmp_path, policy=Policy(settle_s=3600))
    slow.create()
    drop(slow)
    assert take(slow) is None
    assert take(Spool(tmp_path, policy=Policy(settle_s=0))) is not None


def test_forged_modification_time_does_not_make_a_file_old(tmp_path: Path) -> None:
    slow = Spool(tmp_path, policy=Policy(settle_s=3600))
    slow.create()
    os.utime(drop(slow, data=b"{"), (OLD, OLD))
    assert take(slow) is None


def test_writer_that_opens_the_file_during_the_claim_gets_it_back_as_an_arrival(spool: Spool) -> None:
    """The open waits for our lease to end; SIGIO, which tells us of it, would by default be our death."""
    path = drop(spool)
    writer = 0

    def hook(step: str) -> None:
        nonlocal writer
        if step == "before claim.mkdir" and not writer:
            writer = os.fork() or open_and_exit(path)
            while "lease" not in Path(f"/proc/{writer}/wchan").read_text(encoding="ascii"):
                os.sched_yield()

    assert take(Spool(spool.path, hook=hook)) is None
    assert os.waitpid(writer, 0)[1] == 0
    assert path.read_bytes() == b""
    assert list((spool.path / "active").iterdir()) == []


def open_and_exit(path: Path) -> int:
    os.closerange(3, 256)  # a lease lives as long as any copy of its descriptor
    with path.open("wb"):
        os._exit(0)


def test_file_replaced_during_the_claim_is_put_back(spool: Spool) -> None:
    path, other = drop(spool), spool.path / "other"
    other.write_bytes(b'{"bundle_dir":"/other"}')

    def hook(step: str) -> None:
        if step == "before claim.rename" and other.exists():
            other.rename(path)

    assert take(Spool(spool.path, hook=hook)) is None
    assert path.read_bytes() == b'{"bundle_dir":"/other"}'
    assert take(spool).read() == b'{"bundle_dir":"/other"}'


def bind(path: Path) -> None:
    os.chdir(path.parent)  # sun_path holds 108 bytes
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(path.name)


ODD = {
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
    "dangling link": lambda path: path.symlink_to("/nonexistent"),
    "link to a secret": lambda path: path.symlink_to("/etc/passwd"),
    "link to a directory": lambda path: path.symlink_to("/etc"),
    "socket": bind,
    "too large": lambda path: (path.touch(), os.truncate(path, 100 << 20)),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_readable_file_is_claimed_refused_and_kept(spool: Spool, kind: str, monkeypatch) -> None:
    monkeypatch.chdir(spool.path)
    ODD[kind](spool.path / "handoff-odd.json")
    before = os.lstat(spool.path / "handoff-odd.json")
    for claim in spool.claims():
        with claim:
            claim.read()
    [job] = spool.jobs()
    assert job.state is State.REJECTED
    assert job.name == "handoff-odd.json"
    reason = job.reason()
    assert reason["field"] == "file"
    assert reason["fix"]
    kept = os.lstat(f"{job.path}/job.json")
    assert os.path.samestat(before, kept)
    with pytest.raises(BadInput):
        job.document()
    assert spool.fsck() == []


def test_deep_directory_is_moved_not_walked_and_dropped_without_recursion(spool: Spool) -> None:
    path = spool.path / "handoff-deep.json"
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    claim = take(spool)
    job = claim.reject("a directory")
    spool.drop(job.id)
    assert list(spool.jobs()) == []
    assert list((spool.path / "tmp").iterdir()) == []


def test_name_that_is_not_utf8_is_claimed_and_shown(spool: Spool) -> None:
    drop(spool, os.fsdecode(b"handoff-\xff\xfe.json"))
    [job] = spool.jobs()
    assert job.name == "handoff-\\xff\\xfe.json"
    spool.hold(job.id)
    assert spool.find(job.id).name == "handoff-\\xff\\xfe.json"


def test_strange_reasons_and_values_do_not_break_the_history(spool: Spool) -> None:
    drop(spool)
    claim = take(spool)
    claim.note("seen", where=Path("/x"), broken="\udcff", number=1 << 70)
    claim.reject("\udcff is no text")
    [job] = spool.jobs()
    assert job.attempts()[0]["event"] == "seen"
    assert job.reason()["reason"] == "\\udcff is no text"


def test_file_that_others_may_change_is_replaced_by_our_own_copy(spool: Spool) -> None:
    path = drop(spool)
    path.chmod(0o666)
    before = path.stat().st_ino
    claim = take(spool)
    kept = (claim.path / "job.json").stat()
    assert kept.st_ino != before
    assert not kept.st_mode & 0o022
    assert claim.read() == DOC


def test_hard_linked_file_is_replaced_by_our_own_copy(spool: Spool, tmp_path: Path) -> None:
    os.link(drop(spool), tmp_path / "other")
    claim = take(spool)
    (tmp_path / "other").write_bytes(b"changed behind our back")
    assert claim.read() == DOC


@pytest.mark.parametrize(("mode", "durable"), [(0o666, True), (0o644, False)], ids=["anybody's", "our own"])
def test_whose_it_was_is_durable_before_only_our_copy_is_left(spool: Spool, mode: int, durable: bool) -> None:
    drop(spool).chmod(mode)
    steps: list[str] = []
    take(Spool(spool.path, hook=steps.append))
    assert ("after claim.facts.order" in steps[: steps.index("before claim.rename")]) is durable


def test_own_file_is_moved_not_copied(spool: Spool) -> None:
    inode = drop(spool).stat().st_ino
    assert (take(spool).path / "job.json").stat().st_ino == inode


def test_claimer_killed_before_the_private_copy_leaves_it_to_the_next(spool: Spool) -> None:
    drop(spool).chmod(0o666)

    def hook(step: str) -> None:
        if step == "before claim.private.create":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(Spool(spool.path, hook=hook))
    claim = take(spool)
    assert not (claim.path / "job.json").stat().st_mode & 0o022


def test_full_disk_during_a_claim_leaves_the_arrival_as_it_was(spool: Spool) -> None:
    path = drop(spool)

    def hook(step: str) -> None:
        if step == "before claim.facts.write":
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(TemporaryFailure):
        take(Spool(spool.path, hook=hook))
    assert path.read_bytes() == DOC
    assert list((spool.path / "active").iterdir()) == []


def test_what_cannot_be_moved_is_told_once_and_does_not_stop_the_others(spool: Spool) -> None:
    """As a directory of another user behaves for a watcher without root rights."""
    (spool.path / "handoff-a.json").mkdir()
    drop(spool, "handoff-b.json")
    refusals = iter([PermissionError(errno.EACCES, "Permission denied")])

    def hook(step: str) -> None:
        facts = next(spool.path.glob("active/*/claim"), None)
        if step == "before claim.rename" and facts and b"handoff-a.json" in facts.read_bytes():
            raise next(refusals)  # a second try would raise StopIteration

    with closing(Spool(spool.path, hook=hook).backlog()) as backlog:
        backlog.scan(1.0)
        claims = [backlog.take(), backlog.take()]
        backlog.hint("handoff-a.json")
        assert backlog.take() is None
        assert [incident.kind for incident in backlog.events] == ["stuck"]
    assert [claim.name for claim in claims if claim] == ["handoff-b.json"]


def test_future_not_before_defers_without_counting(spool: Spool) -> None:
    drop(spool, data=b'{"not_before":"2999-01-01T00:00:00Z"}')
    assert take(spool) is None
    [job] = spool.jobs()
    assert job.state is State.DEFERRED
    assert job.not_before.year == 2999
    assert [event["event"] for event in job.attempts()] == ["scheduled"]


def test_wrong_envelope_fields_count_as_absent(spool: Spool) -> None:
    drop(spool, data=b'{"priority":"high","lineage":7,"not_before":"soon","idempotency_key":[]}')
    claim = take(spool)
    assert (claim.priority, claim.lineage) == (0, f"uid-{os.getuid()}")


@pytest.mark.parametrize("raw", [b"[" * 100_000 + b"]" * 100_000, b"\xff\xfe", b'{"a":NaN}', b'"text"', b"null"])
def test_bytes_that_are_no_document_still_become_a_job(spool: Spool, raw: bytes) -> None:
    drop(spool, data=raw)
    assert take(spool).read() == raw


def test_file_under_a_write_lease_waits_and_stops_nobody(spool: Spool) -> None:
    path = drop(spool, "handoff-a.json")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        drop(spool, "handoff-b.json", DOC + b" ")
        with closing(spool.backlog()) as backlog:
            backlog.scan(1.0)
            claims = [backlog.take(), backlog.take()]
        assert [claim.name for claim in claims if claim] == ["handoff-b.json"]
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)
    assert take(spool) is not None


def test_unreadable_file_is_left_to_settle_since_mv_gives_the_mode_last(tmp_path: Path, monkeypatch) -> None:
    unreadable = (None, "it is not readable for this service")
    monkeypatch.setattr("repairlab.spool.arrival._open", lambda _: unreadable)
    slow = Spool(tmp_path, policy=Policy(settle_s=3600))
    slow.create()
    drop(slow)
    assert take(slow) is None
    assert slow.counts()[State.WAITING] == 1
    assert take(Spool(tmp_path, policy=Policy(settle_s=0))) is not None
