"""A queue that several people share: who may read a job, and how another's directories go that we cannot empty."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from strangers import ALICE, BOB, SERVICE, as_user

from repairlab import access
from repairlab.access import ENTER, GROUP_OBJ, MASK, OTHER, READ, USER, USER_OBJ, WRITE, Entry, Person
from repairlab.spool import Spool, State
from repairlab.spool.disk import EXPIRED, remove_or_hand_over, remove_tree

pytestmark = pytest.mark.root
DOC = b'{"bundle_dir":"/b"}'


def tree_of(uid: int, path: Path, mode: int) -> None:
    (path / "deep/deeper").mkdir(parents=True)
    (path / "deep/deeper/file").touch()
    for each in (path, *path.rglob("*")):
        os.chown(each, uid, uid)
        each.chmod(mode if each.is_dir() else 0o644)


def handed_over(top: Path) -> list[Path]:
    return [path for path in top.iterdir() if path.name.startswith(EXPIRED)]


@pytest.mark.parametrize("mode", [0o755, 0o555, 0o000])
def test_what_another_user_owns_is_renamed_for_root_to_empty(top, mode):
    tree_of(ALICE, top / "bundle", mode)
    as_user(SERVICE, lambda: remove_or_hand_over(str(top / "bundle")))
    assert not (top / "bundle").exists()
    [there] = handed_over(top)
    assert (there / "deep").exists()
    as_user(SERVICE, lambda: remove_or_hand_over(str(there)))
    assert handed_over(top) == [there], "it keeps its name, however often it is tried"
    remove_or_hand_over(str(there))  # root, by hand
    assert list(top.iterdir()) == []


def test_what_is_empty_goes_though_it_is_another_users(top):
    (top / ".expired-1").mkdir(mode=0o755)
    os.chown(top / ".expired-1", ALICE, ALICE)
    as_user(SERVICE, lambda: remove_or_hand_over(str(top / ".expired-1")))
    assert list(top.iterdir()) == []


@pytest.mark.parametrize("mode", [0o555, 0o550, 0o755])
def test_a_read_only_tree_of_our_own_is_simply_removed(top, mode):
    tree_of(SERVICE, top / "frozen", mode)
    as_user(SERVICE, lambda: remove_or_hand_over(str(top / "frozen")))
    assert list(top.iterdir()) == []


def test_nobody_hands_over_what_he_may_not_rename(top):
    tree_of(ALICE, top / "bundle", 0o755)

    def attempt():
        with pytest.raises(PermissionError):
            remove_or_hand_over(str(top / "bundle"))

    as_user(BOB, attempt)
    assert (top / "bundle/deep/deeper/file").exists()


def test_a_job_with_anothers_directory_in_it_is_swept_away_in_two_steps(top):
    spool = Spool(top / "q")
    as_user(SERVICE, spool.create)
    tree_of(ALICE, top / "q/tmp/trash-1/job.json", 0o755)
    os.chown(top / "q/tmp/trash-1", SERVICE, SERVICE)
    as_user(SERVICE, spool.sweep)
    [there] = handed_over(top / "q/tmp")
    remove_tree(str(there / "job.json"))  # what systemd-tmpfiles does, as root
    as_user(SERVICE, spool.sweep)
    assert handed_over(top / "q/tmp") == []


def test_a_directory_that_cannot_leave_the_queue_is_dropped_where_it_is(top):
    spool = Spool(top / "q")
    as_user(SERVICE, spool.create)
    (top / "q").chmod(0o1777)
    tree_of(ALICE, top / "q/handoff-odd.json", 0o755)
    as_user(SERVICE, lambda: spool.drop("handoff-odd.json"))
    assert [path.name[: len(EXPIRED)] for path in (top / "q").glob(".*")] == [EXPIRED]
    assert list(spool.strays()) == []
    assert list(spool.jobs(State.WAITING)) == []


def readable(path: Path, uid: int, wanted: int = READ) -> bool:
    return reads(path, Person(uid, frozenset()), wanted)


def reads(path: Path, who: Person, wanted: int = READ) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return access.may(who, fd, wanted)
    finally:
        os.close(fd)


@pytest.fixture
def shared(top):
    """A queue whose active/ hands down that only its owner has a part in what is made there."""
    spool = Spool(top / "q")
    spool.create()
    listed = [Entry(USER_OBJ, 7), Entry(GROUP_OBJ, 5), Entry(OTHER, 0)]
    os.setxattr(top / "q/active", access.DEFAULT, access.pack(listed))
    (top / "q/handoff-1.json").write_bytes(DOC)
    os.chown(top / "q/handoff-1.json", ALICE, ALICE)
    return spool


def test_a_lineage_of_another_user_is_his_own(shared):
    with next(shared.claims()) as claim:
        assert (claim.submitter, claim.own("web")) == (ALICE, f"web.{ALICE}")
        assert claim.own("w" * 128) == f"{'w' * 122}.{ALICE}"
        assert claim.own(f"web.{BOB}") == f"web.{BOB}.{ALICE}"
        job = claim.finish()
    assert job.own("web") == f"web.{ALICE}"
    shared.publish(DOC)
    with next(shared.claims()) as claim:
        assert claim.own("web") == "web", "the service's own, and a person's in her own queue"


def test_what_the_service_hands_on_takes_the_turns_of_whose_it_is(top):
    spool = Spool(top / "q")
    spool.create()
    for number in range(20):
        spool.publish(b'{"lineage":"%d","submitter":%d}' % (number, ALICE), f"handoff-{number:02}.json")
    spool.publish(b'{"submitter":%d}' % BOB, "handoff-last.json")
    (top / "q/handoff-lie.json").write_bytes(b'{"submitter":%d,"n":1}' % BOB)
    os.chown(top / "q/handoff-lie.json", ALICE, ALICE)
    served = []
    for claim in spool.claims(limit=3):
        with claim:
            served.append(claim.name)
            claim.defer(0, "again")
    assert "handoff-last.json" in served[:2], "bob's one is not behind alice's twenty"
    backlog = spool.backlog()
    with closing(backlog):
        while backlog.scan(1):
            pass
        bobs = [claim.name for claim in iter(lambda: backlog.take(lambda entry: entry.submitter == BOB), None)]
    assert bobs == ["handoff-last.json"], "a parked one is still his, and nobody but the service says whose a job is"


def test_a_submitter_reads_his_job_wherever_it_goes_and_nobody_else_does(shared):
    with next(shared.claims()) as claim:
        work = claim.workdir()
        (work / "secret").touch()
        claim.put("result", b"1")
        job = claim.finish()
    there = Path(job.path)
    for name in ("", "job.json", "claim", "attempts.jsonl", "result"):
        assert readable(there / name, ALICE), name
        assert not readable(there / name, ALICE, WRITE), name
        assert not readable(there / name, BOB), name
    assert not readable(there / "work", ALICE)


def test_no_file_of_a_job_is_ever_there_before_its_submitter_is_let_in(shared):
    (shared.path / "handoff-1.json").chmod(0o600)  # as it arrives where the queue hands down a list
    steps = []

    def hook(step: str) -> None:
        made = list(Path(shared.path, "active").glob("*/*"))
        alice = all(readable(path.parent, ALICE) for path in made)
        steps.append((step, alice, any(readable(path, BOB) for path in (*made, *(path.parent for path in made)))))

    watched = Spool(shared.path, hook=hook)
    with next(watched.claims()):
        pass
    assert any(step == "after claim.access" for step, *_ in steps)
    assert all(alice for _, alice, _ in steps)
    assert [step for step, _, bob in steps if bob] == []


def test_a_later_result_of_a_deferred_job_is_its_submitters_too(shared):
    with next(shared.claims()) as claim:
        claim.defer(0, "for the test")
    with next(shared.claims()) as claim:
        claim.put("result", b"2")
        job = claim.finish()
    assert readable(Path(job.path, "result"), ALICE)


def test_a_job_that_was_parked_before_there_was_a_list_is_closed_when_it_is_taken_again(shared):
    active = shared.path / "active"
    listed = os.getxattr(active, access.DEFAULT)
    os.removexattr(active, access.DEFAULT)
    os.chown(active, -1, BOB)  # as setgid directories gave each submitter what the others handed in
    active.chmod(0o2750)
    with next(shared.claims()) as claim:
        claim.put("before", b"1")
        there = Path(claim.defer(0, "for the test").path)
    for path in (there, *there.iterdir()):
        path.chmod(path.stat().st_mode & 0o7770)
    bob = Person(BOB, frozenset({BOB}))
    assert reads(there / "before", bob), "the control"
    os.chown(active, -1, SERVICE)
    active.chmod(0o750)
    os.setxattr(active, access.DEFAULT, listed)
    with next(shared.claims()) as claim:
        claim.put("after", b"2")
        there = Path(claim.finish().path)
    assert readable(there / "after", ALICE)
    assert readable(there, ALICE, READ | ENTER)
    for nobody in (bob, Person(BOB, frozenset())):
        assert not reads(there / "after", nobody)
        assert not reads(there, nobody, ENTER), "what was there before is behind the same door"
    assert reads(there / "after", Person(BOB, frozenset({SERVICE}))), "a reader of results"
    assert there.stat().st_gid == BOB, "the unit's filter has no chown"


@pytest.mark.parametrize(("mode", "told"), [(0o644, ["handoff-1.json"]), (0o640, [])])
def test_a_document_that_others_could_read_while_it_waited_is_told_of(shared, mode, told):
    (shared.path / "handoff-1.json").chmod(mode)
    with closing(shared.backlog()) as backlog:
        backlog.hint("handoff-1.json")
        with backlog.take() as claim:
            pass
        assert [incident.name for incident in backlog.events if incident.kind == "exposed"] == told
        assert all(incident.job_id == claim.id for incident in backlog.events)


def test_a_queue_of_one_person_sets_no_list(top):
    spool = Spool(top / "q")
    spool.create()
    (top / "q/handoff-1.json").write_bytes(DOC)
    os.chown(top / "q/handoff-1.json", ALICE, ALICE)
    with next(spool.claims()) as claim:
        job = claim.finish()
    assert access.entries(job.path) == []


def test_our_own_document_needs_no_private_copy_below_a_list(shared):
    """Its mode shows the mask where the group's bits were: that must not look as if others could write to it."""
    listed = [Entry(USER_OBJ, 7), Entry(USER, 7, SERVICE), Entry(GROUP_OBJ, 0), Entry(MASK, 7), Entry(OTHER, 0)]
    for directory in (shared.path, shared.path / "tmp"):
        os.setxattr(directory, access.DEFAULT, access.pack(listed))
    shared.publish(b'{"bundle_dir":"/own"}')
    steps = []
    for claim in Spool(shared.path, hook=steps.append).claims():
        claim.finish()
    assert steps.count("before claim.private.create") == 1, "alice's only"


WIDEST = {
    "bundle_dir": "/b",
    "not_before": f"2000-01-01T00:00:00.{'0' * 70_000}Z",
    "idempotency_key": "\x01" * 50_000,
    "lineage": "\x01" * 30_000,
    "priority": 10**18,
}


@pytest.mark.parametrize("widest", [[name] for name in WIDEST] + [list(WIDEST)], ids="+".join)
def test_a_claim_can_be_read_again_whatever_was_handed_in(shared, widest):
    """A claim that is cut says nothing of whose the job is, and its document is our own copy by then."""
    name = os.fsdecode(b"handoff-" + b"\xff\x01" * 120 + b".json")
    (shared.path / name).write_text(json.dumps({"bundle_dir": "/b"} | {field: WIDEST[field] for field in widest}))
    os.chown(shared.path / name, BOB, BOB)
    submitters = []
    for _ in range(2):
        for claim in shared.claims():
            submitters.append(claim.submitter)
            claim.defer(0, "for the test")
            os.utime(shared.path / "deferred", (0, 0))
    told = [job.submitter for job in shared.jobs(State.DEFERRED)]
    assert sorted(told) == sorted(set(submitters)) == [ALICE, BOB]


@pytest.mark.parametrize(
    "claim", [b"", b"{", b'{"submitter":"0","priority":0}', b'{"submitter":' + b" " * (1 << 17), None]
)
def test_a_job_whose_claim_is_lost_is_nobodys_unless_its_id_says_whose(shared, claim):
    """The document is ours once it is private, so that its owner would make the job the service's."""
    shared.publish(b'{"bundle_dir":"/own"}')
    for each in shared.claims():
        job = each.defer(3600, "for the test")
        os.unlink(f"{job.path}/claim")
        if claim is not None:
            Path(job.path, "claim").write_bytes(claim)
        os.removexattr(job.path, access.DEFAULT)  # it was parked before there were lists, too
    told = {job.document(): job.submitter for job in shared.jobs(State.DEFERRED)}
    assert told == {DOC: access.NOBODY, b'{"bundle_dir":"/own"}': os.geteuid()}
    taken = [shared.retry(job.id).submitter for job in shared.jobs(State.DEFERRED)]
    assert sorted(taken) == [os.geteuid(), access.NOBODY]


def test_nobody_may_read_what_everybody_may(top):
    (top / "file").touch(0o640)
    assert not access.may(access.person(access.NOBODY), os.open(top / "file", os.O_RDONLY), READ)
    (top / "file").chmod(0o644)
    assert access.may(access.person(access.NOBODY), os.open(top / "file", os.O_RDONLY), READ)
