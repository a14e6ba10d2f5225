"""The cleanup of chain, letters, specs, questions and staging: never of what is live, promoted or its origin."""

import itertools
import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cleaning import NOW, SECOND, Then, World

from repairlab import config
from repairlab.chain import Link, record, verify
from repairlab.champions import Champions
from repairlab.documents import Champion, Components, Strategy
from repairlab.operate import aged, pruning, rooms
from repairlab.operate.aged import Place
from repairlab.operate.pruning import carry_out, plan
from repairlab.spool import Policy, Spool, State, disk

OLD, LONG_AGO = timedelta(days=90), timedelta(days=900)
PARTS = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)


class Died(BaseException):
    """A writer's death."""


class Rooms(World):
    """A state directory with a chain, champions, specs and questions."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        clock = Then()
        self.clock = clock
        self.specs, self.questions = (
            Spool(path, pattern=pattern, policy=Policy(settle_s=0), clock=clock)
            for path, pattern in ((config.specs_dir(root), "spec*.json"),
                                  (config.llm_requests_dir(root), "request*.json"))
        )  # fmt: skip
        self.specs.create()
        self.questions.create()
        self.sbom, self.patches = config.sbom_dir(root), config.patches_dir(root)

    def place(self, now=NOW, **days):
        return Place(self.root, self.repair, self.challengers, config.Cleanup(**days), now, self.specs, self.questions)

    def chain(self, *names: str, age: timedelta = LONG_AGO) -> list[str]:
        """Record a chain of bundles from its origin on, long ago; return their hashes."""
        hashes = [(name * 64)[:64] for name in names]
        for old, new in itertools.pairwise(hashes):
            record(self.sbom, Link(sha256=new, lineage="line", at=NOW, parent_sha256=old, patch=b"x"))
        for sha256 in hashes:
            aged_by(self.sbom / sha256, age)
        return hashes

    def rooms(self) -> set[str]:
        return {path.name for path in self.sbom.iterdir()}

    def promote(self, number: str, parent: str | None, sha256: str, above: str) -> None:
        champion = Champion(
            id=number * 24, at=NOW, lineage="line", parent=parent and parent * 24, bundle_dir="/b",
            bundle_sha256=sha256, parent_sha256=above, patch="x", fitness=1.0, components=PARTS,
            strategy=Strategy.MULTI_EDIT,
        )  # fmt: skip
        assert Champions(config.champions_dir(self.root)).promote(champion)

    def letter(self, number: str, age: timedelta = LONG_AGO, lineage: str = "line") -> Path:
        path = self.patches / lineage / f"{number * 24}.patch"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("patch")
        aged_by(path, age)
        return path


def aged_by(path: Path, age: timedelta) -> None:
    for one in (*(path.iterdir() if path.is_dir() else ()), path):
        os.utime(one, ((NOW - age).timestamp(),) * 2)


@pytest.fixture
def world(tmp_path):
    return Rooms(tmp_path / "state")


def test_a_champions_whole_chain_stays_and_verifies_and_another_goes(world):
    origin, first, second = world.chain("1", "2", "3")
    gone = world.chain("a", "b", "c")
    world.promote("e", None, second, first)
    assert world.planned("sbom") == {str(world.sbom / sha256) for sha256 in gone}
    assert not [removal.error for removal in world.clean() if removal.error]
    assert world.rooms() == {origin, first, second}
    assert [step.sha256 for step in verify(world.sbom, world.store, second)] == [second, first, origin]


def test_the_origin_is_kept_by_the_documents_alone(world, monkeypatch):
    """A control run without the walk: what no champion names itself would go, and its chain be broken."""
    origin, first, second = world.chain("1", "2", "3")
    world.promote("e", None, second, first)
    monkeypatch.setattr(rooms, "chained", lambda _place, needed: needed)
    assert world.planned("sbom") == {str(world.sbom / origin)}


def test_the_chain_is_walked_once_however_much_goes_and_however_long_that_takes(world, monkeypatch):
    for number in range(16):
        world.chain(f"{number:02d}", f"{number:x}a", age=LONG_AGO)
    walks, walked, looks = [], rooms.chained, itertools.count()

    def slowly(place, needed):
        walks.append(0)
        return walked(place, needed)

    def clock():  # a walk takes 5 s, each look at the clock another
        return float(next(looks) + 5 * len(walks))

    monkeypatch.setattr(rooms, "chained", slowly)
    monkeypatch.setattr(pruning, "FRESH_S", 1.0)
    monkeypatch.setattr(pruning, "time", SimpleNamespace(monotonic=clock))
    count = len(world.rooms())
    assert len([removal for removal in world.clean() if not removal.error]) >= count > 20
    assert world.rooms() == set()
    assert len(walks) < count / 4, "one for the plan, and some for the removals"


def test_what_a_demoted_champion_comes_from_stays_too(world):
    hashes = world.chain("1", "2")
    world.promote("e", None, hashes[1], hashes[0])
    with Champions(config.champions_dir(world.root)).demotion("line", None, lambda: (1, 0)):
        pass
    assert world.planned("sbom") == set()


@pytest.mark.parametrize("how", ["waiting", "hold", "deferred", "hard_fail", "rejected"])
def test_the_chain_of_a_bundle_stays_while_a_job_may_run_it(world, how):
    hashes = world.chain("1", "2", "3")
    world.job(how, NOW - SECOND, world.store / hashes[-1])
    assert world.planned("sbom") == set()


def test_the_chain_of_a_challenger_in_hand_stays(world):
    hashes = world.chain("1", "2")
    world.challenger("k", world.store / hashes[1])
    (claim,) = world.challengers.claims(limit=1)
    with claim:
        assert world.planned("sbom") == set()
        claim.hand_back("test")


def test_documents_go_at_their_age_to_the_second(world):
    (old,) = world.chain("1", "2", age=OLD)[:1]
    young = world.chain("a", "b", age=OLD - SECOND)
    world.clean()
    assert old not in world.rooms()
    assert world.rooms() == set(young)
    world.clean(now=NOW + SECOND)
    assert world.rooms() == set()


def test_documents_that_are_used_between_plan_and_removal_stay(world):
    hashes = world.chain("1", "2")
    planned = list(plan(world.place()))
    record(world.sbom, Link(sha256=hashes[0], lineage="line", at=NOW))
    found = {removal.path.name: removal.error for removal in carry_out(world.place(), planned)}
    assert found == {hashes[0]: "it has come into use", hashes[1]: ""}


def test_documents_that_come_to_be_needed_between_plan_and_removal_stay(world):
    hashes = world.chain("1", "2")
    planned = list(plan(world.place()))
    world.job("waiting", NOW, world.store / hashes[1])
    assert [removal.error for removal in carry_out(world.place(), planned)] == ["it has come into use"] * 2
    assert world.rooms() == set(hashes)


def test_documents_that_are_used_between_the_last_look_and_the_rename_come_back(world, monkeypatch):
    hashes = world.chain("1", "2")
    rename = os.rename

    def used_just_then(source, target):
        if Path(source).name == hashes[0]:
            record(world.sbom, Link(sha256=hashes[0], lineage="line", at=NOW))
        rename(source, target)

    monkeypatch.setattr(aged.os, "rename", used_just_then)
    assert [removal.error for removal in world.clean()] == ["it has come into use", ""]
    assert world.rooms() == {hashes[0]}


def test_the_letter_of_a_champion_and_of_those_before_it_stays_and_a_demoted_ones_goes(world):
    for number, parent in (("1", None), ("2", "1"), ("3", "2")):
        world.promote(number, parent, number * 64, "f" * 64)
    letters = {number: world.letter(number) for number in "1234"}
    page = letters["3"].with_suffix(".md")
    page.write_text("page")
    aged_by(page, OLD)
    young = world.letter("5", OLD - SECOND)
    with Champions(config.champions_dir(world.root)).demotion("line", None, lambda: (1, 0)):
        pass
    world.clean()
    assert {path.stem[0] for path in world.patches.rglob("*.patch")} == {"1", "2", "5"}
    assert not page.exists()
    assert young.exists()


def test_whose_letters_stay_is_read_once_however_many_there_are(world, monkeypatch):
    world.promote("1", None, "1" * 64, "f" * 64)
    reads, ancestry = [], Champions.ancestry
    monkeypatch.setattr(Champions, "ancestry", lambda self, line: [reads.append(line), *ancestry(self, line)][1:])
    monkeypatch.setattr(pruning, "FRESH_S", 3600.0)
    letters = [world.letter(number) for number in "123456789abcdef"]
    world.clean()
    assert [letter.exists() for letter in letters] == [True] + [False] * 14
    assert reads == ["line"] * 2, "one for the plan, one for the removals"


def test_a_letter_stays_where_the_champions_record_cannot_be_read(world):
    world.promote("1", None, "1" * 64, "f" * 64)
    letter = world.letter("2")
    (config.champions_dir(world.root) / "line" / ("1" * 24) / "champion.json").write_text("{")
    assert world.planned("patches") == set()
    assert world.planned("patches", patches_days=0) == set()
    assert letter.exists()


def test_the_letter_of_a_challenger_in_an_evaluators_hands_stays(world):
    job = world.challengers.publish(
        Path(world.challenger("k", world.bundle(unused_for=SECOND))).read_bytes(), "challenger_k.json"
    )
    letter = world.patches / "line" / f"{job.id}.patch"
    letter.parent.mkdir(parents=True)
    letter.write_text("patch")
    aged_by(letter, LONG_AGO)
    assert world.planned("patches") == set()


def test_a_champion_that_comes_back_between_plan_and_removal_keeps_its_letter(world):
    letter = world.letter("1")
    planned = list(plan(world.place()))
    world.promote("1", None, "1" * 64, "f" * 64)
    assert [removal.error for removal in carry_out(world.place(), planned)] == ["it has come into use"]
    assert letter.exists()


def test_served_specs_and_questions_go_at_their_age_and_live_ones_stay(world):
    def spec(number, at, how):
        world.clock.now = at
        job = world.specs.publish(json.dumps({"id": f"s{number}"}).encode(), f"spec-{number}.json")
        if how != "waiting":
            (claim,) = (claim for claim in world.specs.claims(limit=1))
            with claim:
                claim.finish() if how == "ok" else claim.defer(10**6, "an answer is waited for")
        return job.id

    kept = {spec(1, NOW - LONG_AGO, "deferred"), spec(2, NOW - OLD + SECOND, "ok")}
    old = spec(3, NOW - OLD, "ok")
    kept.add(spec(4, NOW - LONG_AGO, "waiting"))
    assert {Path(path).name for path in world.planned("specs")} == {old}
    world.clean()
    assert {job.id for job in world.specs.jobs()} == kept


def test_questions_that_nobody_took_and_answers_go_at_their_age(world):
    week = timedelta(days=7)
    names = {}
    for name, age in (("old", week), ("young", week - SECOND)):
        names[name] = Path(world.questions.publish(b"{}" if name == "old" else b"{ }", f"request-{name}.json").path)
        aged_by(names[name], age)
        answer = config.llm_responses_dir(world.root) / f"{name}.json"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text("{}")
        aged_by(answer, age)
    assert not [removal.error for removal in world.clean() if removal.error]
    assert {path.name for path in config.llm_responses_dir(world.root).iterdir()} == {"young.json"}
    assert [job.name for job in world.questions.jobs(State.WAITING)] == ["request-young.json"]


def test_a_question_that_is_taken_between_plan_and_removal_stays(world):
    path = Path(world.questions.publish(b"{}", "request-a.json").path)
    aged_by(path, LONG_AGO)
    planned = list(plan(world.place()))
    (claim,) = world.questions.claims(limit=1)
    with claim:
        list(carry_out(world.place(), planned))
        assert claim.read() == b"{}"
        claim.finish()


def test_staging_that_a_death_left_goes_and_what_only_looks_like_it_stays(world):
    world.promote("1", None, "1" * 64, "f" * 64)
    line = config.champions_dir(world.root) / "line"
    world.letter("1")
    left = [
        world.patches / "line" / ".x.patch.01234567", line / ".new-01234567",
        world.root / "specder/.state.json.0a1b2c3d", line / ".current-01234567",
        world.patches / "line" / f".tmp-cleanup-{'0' * 16}",
    ]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        if "new" in path.name:
            path.mkdir()
        elif "current" in path.name:
            path.symlink_to("1" * 24)
            os.utime(path, ((NOW - OLD).timestamp(),) * 2, follow_symlinks=False)
            continue
        else:
            path.write_text("")
        aged_by(path, OLD)
    state = world.root / "specder/state.json"
    state.write_text("{}")
    aged_by(state, LONG_AGO)
    for path in (line / ".lock", line / "history.jsonl"):
        aged_by(path, LONG_AGO)
    fresh = world.patches / "line" / ".y.patch.01234567"
    fresh.write_text("")
    world.clean()
    assert [path for path in left if os.path.lexists(path)] == []
    assert all(path.exists() for path in (state, line / ".lock", line / "history.jsonl", fresh, line / "current"))


def test_what_a_dead_evaluator_has_staged_in_a_kept_chain_goes(world, monkeypatch):
    """The name is the writer's own: it dies at the rename."""
    world.chain("1", "2", age=SECOND)
    world.promote("1", None, "2" * 64, "1" * 64)

    def die(*_names, **_where):
        raise Died

    monkeypatch.setattr(disk, "rename_new", die)
    monkeypatch.setattr(os, "unlink", lambda *_, **_where: None)  # the dead clean nothing up
    with pytest.raises(Died):
        record(world.sbom, Link(sha256="2" * 64, lineage="line", parent_sha256="1" * 64, patch=b"y"), by="e" * 24)
    monkeypatch.undo()
    (left,) = world.sbom.glob("*/.*")
    aged_by(left, OLD)
    assert not [removal.error for removal in world.clean() if removal.error]
    assert not left.exists()
    assert len(world.rooms()) == 2


def test_a_link_in_a_room_is_removed_and_never_followed(world, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    world.sbom.mkdir()
    (world.sbom / ("9" * 64)).symlink_to(outside)
    os.utime(world.sbom / ("9" * 64), ((NOW - LONG_AGO).timestamp(),) * 2, follow_symlinks=False)
    world.clean()
    assert world.rooms() == set()
    assert (outside / "kept").exists()
