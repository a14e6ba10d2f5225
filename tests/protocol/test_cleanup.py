"""The cleanup: exact to the second, never what is needed, the same dry as real, safe beside everything else."""

import errno
import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cleaning import NOW, SECOND, WEEK, World

from repairlab import config, documents
from repairlab.operate import pruning
from repairlab.operate.pruning import carry_out, plan
from repairlab.sandbox.bundle import snapshot
from repairlab.spool import State

BIN = Path(__file__).resolve().parents[2] / "bin"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


@pytest.mark.parametrize("how", ["ok", "hard_fail", "rejected"])
def test_an_ended_job_goes_at_its_age_to_the_second_and_not_one_sooner(world, how):
    old = world.job(how, NOW - WEEK)
    young = world.job(how, NOW - WEEK + SECOND)
    assert {Path(path).name for path in world.planned("processed")} == {old}
    world.clean()
    assert [job.id for job in world.repair.jobs()] == [young]
    assert world.planned("processed", now=NOW + SECOND) == {str(world.repair.find(young).path)}


def test_the_age_counts_from_the_end_and_not_from_the_files(world):
    young = Path(world.repair.find(world.job("ok", NOW - timedelta(days=1))).path)
    for path in [young, *young.iterdir()]:
        os.utime(path, (0, 0))
    assert world.planned("processed") == set()


def test_what_is_alive_stays_however_old_it_is(world):
    ancient = NOW - timedelta(days=400)
    kept = {world.job(how, ancient) for how in ("waiting", "hold", "deferred")}
    assert world.planned("processed") == set()
    world.clean()
    assert {job.id for job in world.repair.jobs()} == kept


@pytest.mark.parametrize("how", ["waiting", "hold", "deferred", "hard_fail", "rejected"])
def test_a_bundle_stays_while_a_job_that_may_run_names_it(world, how):
    used = world.bundle(unused_for=timedelta(days=90))
    other = world.bundle(unused_for=timedelta(days=90))
    world.job(how, NOW - SECOND, used)
    assert world.planned("bundles") == {str(other)}


def test_a_bundle_stays_while_a_job_in_hand_names_it_in_its_document_or_its_history(world):
    named, snapshot_of_it = world.bundle(unused_for=WEEK), world.bundle(unused_for=WEEK)
    world.repair.publish(documents.encode(documents.Handoff(bundle_dir=str(named))))
    for claim in world.repair.claims(limit=1):
        claim.note("prepared", snapshot=snapshot_of_it.name)
        assert world.planned("bundles") == set()
        claim.finish()
    assert world.planned("bundles") == {str(named), str(snapshot_of_it)}


def test_a_bundle_goes_in_the_same_run_as_the_last_job_that_names_it(world):
    bundle = world.bundle(unused_for=WEEK)
    world.job("hard_fail", NOW - WEEK, bundle)
    planned = world.planned()
    assert str(bundle) in planned
    assert {str(item.path) for item in world.clean() if not item.error} == planned
    assert list(world.store.iterdir()) == []


def test_a_bundle_goes_at_its_age_to_the_second(world):
    old, young = world.bundle(unused_for=WEEK), world.bundle(unused_for=WEEK - SECOND)
    assert world.planned("bundles") == {str(old)}
    world.clean()
    assert list(world.store.iterdir()) == [young]


def test_a_bundle_that_somebody_put_there_is_as_young_as_its_youngest_file(world):
    mine = world.store / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "m.py").write_text("x = 1\n")
    for path in (mine, mine / "deep"):
        os.utime(path, (0, 0))
    os.utime(mine / "deep" / "m.py", ((NOW - WEEK + SECOND).timestamp(),) * 2)
    assert world.planned("bundles") == set()
    os.utime(mine / "deep" / "m.py", ((NOW - WEEK).timestamp(),) * 2)
    assert world.planned("bundles") == {str(mine)}
    world.job("waiting", NOW, mine / "deep")
    assert world.planned("bundles") == set()


def test_a_job_that_names_a_bundle_through_a_link_keeps_it(world, tmp_path):
    mine = world.bundle(unused_for=WEEK)
    mine = mine.rename(world.store / "by-name")
    os.utime(mine / "m.py", (0, 0))
    (tmp_path / "alias").symlink_to(world.store)
    world.job("waiting", NOW, tmp_path / "alias" / "by-name")
    assert world.planned("bundles") == set()


def test_a_challenger_goes_at_its_age_and_keeps_its_bundle_until_then(world):
    bundle = world.bundle(unused_for=timedelta(days=300))
    path = world.challenger("a" * 24, bundle)
    arrived = datetime.fromtimestamp(path.stat().st_ctime, UTC)
    week_later = arrived + WEEK
    assert world.planned(now=week_later - SECOND) == set()
    assert world.planned(now=week_later) == {str(path), str(bundle)}
    world.clean(now=week_later)
    assert not path.exists()
    assert not bundle.exists()


def test_a_promoted_challenger_stays_with_its_bundle(world):
    by_job, by_hash, by_name = (world.bundle(unused_for=timedelta(days=300)) for _ in range(3))
    kept = [
        world.challenger("a" * 24, by_job),
        world.challenger("b" * 24, by_hash),
        world.challenger("c" * 24, by_name),
    ]
    champions = world.root / "champions" / "domain"
    champions.mkdir(parents=True)
    (champions / "one.json").write_text(json.dumps({"challenger": "a" * 24}))
    (champions / "two.json").write_text(json.dumps({"bundle_sha256": by_hash.name[::-1]}))
    (champions / f"challenger_{'c' * 24}.json").write_text("{}")
    loser = world.challenger("d" * 24, world.bundle(unused_for=timedelta(days=300)))
    later = datetime.now(UTC) + timedelta(days=30)
    assert world.planned("challengers", now=later) == {str(loser)}
    world.clean(now=later)
    assert all(path.exists() for path in kept)
    assert all(bundle.exists() for bundle in (by_job, by_hash, by_name))


def test_a_bundle_that_only_a_champion_names_stays(world):
    bundle = world.bundle(unused_for=timedelta(days=300))
    (world.root / "champions").mkdir()
    (world.root / "champions" / "x.json").write_text(json.dumps({"parent_sha256": bundle.name}))
    assert world.planned("bundles") == set()


def test_a_challenger_in_an_evaluators_or_operators_hands_stays(world):
    bundle = world.bundle(unused_for=timedelta(0))
    held = world.challenger("a" * 24, bundle)
    world.challengers.hold(held.name)
    later = datetime.now(UTC) + timedelta(days=300)
    world.challenger("b" * 24, bundle)
    for claim in world.challengers.claims(limit=1):
        assert world.planned("challengers", now=later) == set()
        claim.finish()
    world.clean(now=later)
    assert [job.state for job in world.challengers.jobs()] == [State.HOLD]


def test_work_directories_and_staging_go_while_their_jobs_stay(world):
    world.clock.now = NOW - WEEK
    world.repair.publish(documents.encode(documents.Handoff(bundle_dir="/srv/x")))
    for claim in world.repair.claims(limit=1):
        (claim.workdir() / "big.log").write_bytes(b"x" * 100_000)
        assert world.planned("work", now=NOW + WEEK) == set()
        job = claim.fail("exhausted")
    staged = world.store / ".tmp-1-abc"
    staged.mkdir()
    os.utime(staged, ((NOW - WEEK).timestamp(),) * 2)
    assert world.planned("work") == {f"{job.path}/work", str(staged)}
    assert world.planned("work", now=NOW - SECOND) == set()
    freed = sum(item.bytes for item in world.clean())
    assert freed >= 100_000
    assert world.repair.find(job.id).state is State.DEFERRED
    assert [event["event"] for event in world.repair.find(job.id).attempts()] == ["started", "failed"]
    assert not Path(job.path, "work").exists()
    assert world.repair.fsck() == []


def test_what_is_told_of_a_failed_unit_goes_at_its_age_to_the_second(world):
    place = config.escalations_dir(world.root)
    place.mkdir()
    for name, age_s in (("old", 30 * 86400), ("young", 30 * 86400 - 1), (".old.staged", 31 * 86400)):
        (place / name).write_text("{}")
        os.utime(place / name, (NOW.timestamp() - age_s,) * 2)
    assert world.planned("escalations") == {str(place / "old"), str(place / ".old.staged")}
    assert [removal.error for removal in carry_out(world.place(), plan(world.place()))] == ["", ""]
    assert [path.name for path in place.iterdir()] == ["young"]


def test_a_bundle_that_is_used_while_it_is_looked_at_stays(world):
    bundle = world.bundle(unused_for=WEEK)
    place = world.place()
    planned = list(plan(place))
    snapshot(bundle, roots=[world.store], store=world.store)  # what a watcher does with a job that names it
    (removal,) = carry_out(place, planned)
    assert removal.error == "it has come into use"
    assert removal.bytes == 0
    assert (bundle / "m.py").exists()


def test_a_bundle_that_is_used_between_the_last_look_and_the_rename_comes_back(world, monkeypatch):
    bundle = world.bundle(unused_for=WEEK)
    rename = os.rename

    def used_just_then(source, target):
        if Path(source) == bundle:
            os.utime(bundle)
        rename(source, target)

    monkeypatch.setattr(pruning.os, "rename", used_just_then)
    (removal,) = world.clean()
    assert removal.error == "it has come into use"
    assert (bundle / "m.py").exists()


def test_a_job_that_is_retried_between_plan_and_removal_stays(world):
    job_id = world.job("hard_fail", NOW - WEEK)
    place = world.place()
    planned = list(plan(place))
    world.repair.retry(job_id)
    list(carry_out(place, planned))
    assert world.repair.find(job_id).state is State.DEFERRED


def test_a_challenger_that_is_claimed_between_plan_and_removal_stays(world):
    world.challenger("a" * 24, world.bundle(unused_for=timedelta(0)))
    place = world.place(datetime.now(UTC) + timedelta(days=30))
    planned = list(plan(place))
    for claim in world.challengers.claims(limit=1):
        list(carry_out(place, planned))
        assert Path(claim.path, "job.json").exists()
        claim.finish()


def test_a_run_removes_what_its_dry_run_lists_and_a_second_one_nothing(world):
    for how in ("ok", "hard_fail", "rejected", "hold"):
        for days in (1, 6.9, 7, 8, 100):
            world.job(how, NOW - timedelta(days=days), world.bundle(unused_for=timedelta(days=days)))
    dry = list(plan(world.place()))
    real = world.clean()
    assert [(item.kind, item.path, item.bytes) for item in real] == [(item.kind, item.path, item.bytes) for item in dry]
    assert not any(os.path.lexists(item.path) for item in real)
    assert world.clean() == []
    assert world.repair.fsck() == []


def test_a_run_that_is_killed_anywhere_leaves_a_sound_queue_and_the_next_one_finishes(world):
    for _ in range(40):
        world.job("ok", NOW - WEEK, world.bundle(unused_for=WEEK))
    world.job("hold", NOW - WEEK, world.bundle(unused_for=WEEK))
    pid = os.fork()
    if pid == 0:
        world.clean()
        os._exit(0)
    while sum(1 for _ in world.repair.jobs(State.OK)) > 25:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert world.repair.fsck() == [] or {finding.kind for finding in world.repair.fsck()} <= {"staged"}
    world.clean()
    world.clean(now=datetime.now(UTC) + WEEK)  # what was moved aside when it was killed is old by then
    assert sum(1 for _ in world.repair.jobs(State.OK)) == 0
    assert len(list(world.store.iterdir())) == 1


def test_a_path_that_cannot_be_removed_is_told_and_keeps_no_other(world, monkeypatch):
    first, second = world.bundle(unused_for=WEEK), world.bundle(unused_for=WEEK)
    rename = os.rename

    def refuse(source, target):
        if Path(source) == first:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(source))
        rename(source, target)

    monkeypatch.setattr(pruning.os, "rename", refuse)
    told = {item.path: (item.error, item.bytes) for item in world.clean()}
    assert told[first] == (f"Permission denied: {first}", 0)
    assert told[second][0] == ""
    assert [path.name for path in world.store.iterdir()] == [first.name]


def test_without_a_look_at_what_names_it_a_needed_bundle_would_go(world, monkeypatch):
    """The control: the guard is what keeps the bundle."""
    used = world.bundle(unused_for=timedelta(days=90))
    world.job("hold", NOW - SECOND, used)
    monkeypatch.setattr(pruning._Needed, "names", lambda _self, _entry: False)
    assert world.planned("bundles") == {str(used)}
    world.clean()
    assert not used.exists()
    shutil.rmtree(world.root)
