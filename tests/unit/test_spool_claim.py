"""A job in our hands: what counts, what does not, when it is due, and how the claim ends."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repairlab.errors import BadInput, TemporaryFailure, Unavailable
from repairlab.spool import Clock, Policy, Spool, State

DOC = b'{"bundle_dir":"/b","lineage":"sorting","priority":7}'
FINGERPRINT = "f" * 64
POLICY = Policy(backoff_base_s=10, backoff_cap_s=120)


class Hand(Clock):
    """A clock moved by hand: `pass_s` is time that passes, `stepped_s` what somebody set the wall clock by."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_s = self.stepped_s = 0.0

    def wall(self) -> float:
        return 2e9 + self.pass_s + self.stepped_s

    def boottime(self) -> float:
        return 5e5 + self.pass_s


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def spool(tmp_path: Path, clock: Hand) -> Spool:
    spool = Spool(tmp_path, policy=POLICY, clock=clock, random=lambda: 1.0)
    spool.create()
    spool.publish(DOC)
    return spool


def take(spool: Spool):
    with closing(spool.backlog()) as backlog:
        backlog.scan(1.0)
        return backlog.take()


def fail(spool: Spool, clock: Hand, after_s: float = 150.0, fingerprint: str | None = None):
    clock.pass_s += after_s
    claim = take(spool)
    claim.started()
    return claim.fail("no patch found", fingerprint)


def test_claim_knows_the_envelope(spool: Spool) -> None:
    claim = take(spool)
    assert (claim.lineage, claim.priority, claim.attempt, claim.effort) == ("sorting", 7, 1, 1)


def test_three_failures_in_the_window_end_the_job(spool: Spool, clock: Hand) -> None:
    states = [fail(spool, clock).state for _ in range(3)]
    assert states == [State.DEFERRED, State.DEFERRED, State.HARD_FAIL]
    [job] = spool.jobs()
    assert job.reason()["reason"] == "no patch found"
    assert "3 times" in job.reason()["why"]


def test_failures_farther_apart_than_the_window_end_with_the_lifetime_bound(spool: Spool, clock: Hand) -> None:
    states = [fail(spool, clock, after_s=700).state for _ in range(6)]
    assert states == [State.DEFERRED] * 5 + [State.HARD_FAIL]


def test_each_attempt_is_made_with_more_effort(spool: Spool, clock: Hand) -> None:
    efforts = []
    for _ in range(3):
        clock.pass_s += 150
        claim = take(spool)
        efforts.append((claim.attempt, claim.effort))
        claim.started()
        assert (claim.attempt, claim.effort) == efforts[-1]
        claim.fail("no patch")
    assert efforts == [(1, 1), (2, 2), (3, 3)]


def test_back_off_doubles_up_to_its_cap_with_full_jitter(tmp_path: Path, clock: Hand) -> None:
    policy = Policy(failures=9, max_attempts=99, window_s=1e9, backoff_base_s=10, backoff_cap_s=60)
    spool = Spool(tmp_path, policy=policy, clock=clock, random=lambda: 0.5)
    spool.create()
    spool.publish(DOC)
    delays = [fail(spool, clock).attempts()[-1]["delay_s"] for _ in range(5)]
    assert delays == [5, 10, 20, 30, 30]


def test_deferred_job_is_not_taken_before_its_time(spool: Spool, clock: Hand) -> None:
    take(spool).defer(60, "no sandbox")
    clock.pass_s += 59
    assert take(spool) is None
    clock.pass_s += 1
    assert take(spool) is not None


@pytest.mark.parametrize("step_s", [-86400.0, 86400.0])
def test_stepped_clock_changes_neither_the_pause_nor_the_window(spool: Spool, clock: Hand, step_s: float) -> None:
    fail(spool, clock)
    clock.stepped_s = step_s
    assert take(spool) is None, "the pause of 10 s is not over"
    assert [fail(spool, clock).state, fail(spool, clock).state] == [State.DEFERRED, State.HARD_FAIL]


def test_window_and_pause_outlive_a_reboot(spool: Spool, clock: Hand) -> None:
    fail(spool, clock)
    clock.boot_id = "another boot"
    assert take(spool) is None
    clock.pass_s += 10
    assert take(spool).effort == 2


def test_pause_until_an_instant_follows_the_wall_clock(spool: Spool, clock: Hand) -> None:
    take(spool).defer(datetime.fromtimestamp(2e9 + 1000, UTC), "maintenance")
    clock.stepped_s = 999
    assert take(spool) is None
    clock.stepped_s = 1000
    assert take(spool) is not None


def test_temporary_trouble_of_ours_is_never_counted(spool: Spool, clock: Hand) -> None:
    for _ in range(20):
        clock.pass_s += 100
        take(spool).defer(1, "the disk is full")
    clock.pass_s += 100
    assert take(spool).effort == 1


def test_handed_back_job_is_due_at_once_and_uncounted(spool: Spool) -> None:
    claim = take(spool)
    claim.started()
    claim.hand_back("SIGTERM")
    claim = take(spool)
    assert (claim.attempt, claim.effort) == (2, 1)


def test_crashes_are_counted_apart_from_failures(spool: Spool, clock: Hand) -> None:
    fail(spool, clock)
    for expected in (State.DEFERRED, State.DEFERRED, State.HARD_FAIL):
        clock.pass_s += 150
        claim = take(spool)
        assert claim.effort == 2
        assert claim.crashed("killed by signal 9").state is expected


def test_same_bundle_under_another_name_is_recognised(spool: Spool, clock: Hand) -> None:
    for _ in range(3):
        fail(spool, clock, fingerprint=FINGERPRINT)
    [first] = spool.jobs()
    spool.publish(b'{"bundle_dir":"/another/name"}')
    known = take(spool).known_failures(FINGERPRINT)
    assert known.exhausted
    assert known.ids == (first.id,)


def test_after_the_window_the_effort_goes_on_where_it_was(spool: Spool, clock: Hand) -> None:
    for _ in range(3):
        fail(spool, clock, fingerprint=FINGERPRINT)
    clock.pass_s += 601
    spool.publish(b'{"bundle_dir":"/another/name"}')
    claim = take(spool)
    assert not claim.known_failures(FINGERPRINT).exhausted
    assert claim.effort == 4


def test_retry_forgives_the_job_and_its_fingerprint(spool: Spool, clock: Hand) -> None:
    for _ in range(3):
        fail(spool, clock, fingerprint=FINGERPRINT)
    [job] = spool.jobs(State.HARD_FAIL)
    spool.retry(job.id)
    claim = take(spool)
    assert claim.effort == 1
    assert claim.known_failures(FINGERPRINT).recorded == 0
    assert claim.attempt == 4


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 200])
def test_fingerprint_cannot_name_another_file(spool: Spool, name: str) -> None:
    with pytest.raises(BadInput):
        spool.fingerprint(name)


def test_block_that_ends_by_bad_input_rejects(spool: Spool) -> None:
    with take(spool):
        raise BadInput("the field is missing", field="bundle_dir", fix="add it")
    [job] = spool.jobs()
    reason = job.reason()
    assert (job.state, reason["field"], reason["fix"]) == (State.REJECTED, "bundle_dir", "add it")


def test_block_that_ends_by_temporary_failure_defers_uncounted(spool: Spool, clock: Hand) -> None:
    with take(spool):
        raise TemporaryFailure("no sandbox")
    clock.pass_s += 60
    assert take(spool).effort == 1


def test_block_that_ends_by_a_bug_counts_a_crash_and_goes_through(spool: Spool) -> None:
    with pytest.raises(ZeroDivisionError), take(spool) as claim:
        _ = 1 / 0
    assert claim.left
    [job] = spool.jobs()
    assert job.attempts()[-1]["event"] == "crashed"


def test_block_that_ends_without_a_result_hands_back(spool: Spool) -> None:
    with take(spool):
        pass
    assert take(spool).effort == 1


def test_work_directory_is_fresh_each_time_whatever_was_left_there(spool: Spool) -> None:
    claim = take(spool)
    work = claim.workdir()
    (work / "left").mkdir(mode=0o000)
    (work / "link").symlink_to("/etc")
    assert list(claim.workdir().iterdir()) == []


@pytest.mark.parametrize("name", ["job.json", "claim", "attempts.jsonl", "../x", ".x", "work"])
def test_result_cannot_take_the_name_of_the_queues_own_files(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        take(spool).put(name, b"")


def test_results_go_with_the_job(spool: Spool) -> None:
    claim = take(spool)
    claim.put("patch.diff", b"old")
    claim.put("patch.diff", b"new")
    job = claim.finish()
    assert Path(job.path, "patch.diff").read_bytes() == b"new"
    assert Path(job.path).parent.name == datetime.fromtimestamp(2e9, UTC).date().isoformat()


def test_leaving_twice_is_a_bug_and_says_so(spool: Spool) -> None:
    claim = take(spool)
    claim.finish()
    with pytest.raises(ValueError, match="left already"):
        claim.finish()


def test_decision_that_could_not_be_carried_out_is_carried_on_not_replaced(spool: Spool, clock: Hand) -> None:
    full = iter([True])

    def hook(step: str) -> None:
        if step == "before reason.write" and next(full, False):
            raise OSError(28, "full")

    spool = Spool(spool.path, policy=Policy(failures=1), hook=hook, clock=clock)
    claim = take(spool)
    with pytest.raises(TemporaryFailure):
        claim.fail("no patch")
    assert claim.hand_back("shutting down").state is State.HARD_FAIL


def test_directory_removed_by_hand_ends_the_claim(spool: Spool) -> None:
    claim = take(spool)
    for path in claim.path.iterdir():
        path.unlink()
    claim.path.rmdir()
    with pytest.raises(Unavailable):
        claim.finish()
    assert claim.left


def test_id_that_is_in_two_places_is_never_overwritten(spool: Spool) -> None:
    claim = take(spool)
    (spool.path / "deferred" / claim.id).mkdir()
    (spool.path / "deferred" / claim.id / "job.json").write_bytes(b"{}")
    with pytest.raises(Exception, match="two places"):
        claim.hand_back("x")
    claim.close()
    assert [reaped.what for reaped in spool.reap()] == ["stuck"]
    assert {finding.kind for finding in spool.fsck()} >= {"twice"}


def test_history_of_a_job_deferred_for_ever_stays_small_and_keeps_what_counts(spool: Spool, clock: Hand) -> None:
    job = fail(spool, clock)
    clock.pass_s += 100
    claim = take(spool)
    for _ in range(900):
        claim.note("deferred", reason="x" * 100)
    claim.hand_back("x")
    assert Path(job.path, "attempts.jsonl").stat().st_size < 80_000
    assert take(spool).effort == 2


def test_failures_with_endless_reasons_are_all_remembered(tmp_path: Path) -> None:
    spool = Spool(tmp_path, policy=Policy(failures=1000, max_attempts=1000, backoff_base_s=0))
    spool.create()
    spool.publish(DOC)
    for _ in range(30):
        claim = take(spool)
        claim.started()
        claim.fail("x" * 50_000)
    [job] = spool.jobs()
    assert sum(event["event"] == "failed" for event in job.attempts()) == 30


def test_ending_a_job_flushes_the_decision_and_then_only_moves(spool: Spool) -> None:
    spool.publish(b"{}")
    steps: list[str] = []
    watched = Spool(spool.path, hook=steps.append)
    (claim,) = watched.claims(limit=1)
    del steps[:]
    claim.finish()
    done = [step.removeprefix("after ") for step in steps if step.startswith("after ")]
    flushes = [step for step in done if step in ("history.fsync", "leave.order")]
    assert flushes == ["history.fsync", "leave.order"]
    assert done.index("history.write") < done.index("history.fsync") < done.index("leave.order")
    assert done[-1] == "leave.rename"


def test_the_first_job_of_a_day_makes_its_bucket_and_the_next_does_not_ask_for_it(spool: Spool) -> None:
    steps: list[str] = []
    watched = Spool(spool.path, hook=steps.append)
    made = []
    for document in (b"{}", b"[]"):
        spool.publish(document)
        (claim,) = watched.claims(limit=1)
        del steps[:]
        job = claim.finish()
        made.append("before bucket.mkdir" in steps)
        assert Path(job.path, "job.json").is_file()
        assert steps[-1] == "after leave.rename"
    assert made == [True, False]
