"""Champions: one switch a promotion, never over another's, undone by demoting."""

import json
import multiprocessing
import os
from datetime import UTC, datetime

import pytest
from dying import Died, dies_at

from repairlab.champions import Champions, Lost
from repairlab.documents import Champion, Components, Strategy
from repairlab.errors import BadInput
from repairlab.spool.disk import Disk

ONES = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)


def champion(number, parent=None, **fields):
    known = {
        "id": f"{number:024x}", "at": datetime(2026, 1, 1, tzinfo=UTC), "lineage": "line",
        "parent": None if parent is None else f"{parent:024x}", "bundle_dir": "/srv/b", "bundle_sha256": "a" * 64,
        "parent_sha256": "b" * 64, "patch": "--- a/x\n", "fitness": 0.5, "components": ONES,
        "strategy": Strategy.MULTI_EDIT,
    }  # fmt: skip
    return Champion(**(known | fields))


def demoted(store):
    """Demote as the command does; return who was the champion, and who is it now."""
    with store.demotion("line", None, lambda: (1, 0)) as (before, _mark):
        pass
    return before, store.current("line")


@pytest.fixture
def store(tmp_path):
    return Champions(tmp_path)


def test_a_champion_is_promoted_once_and_its_ancestry_is_kept(store, tmp_path):
    assert store.current("line") is None
    assert store.promote(champion(1))
    assert store.promote(champion(1)), "a repetition finds it done"
    assert store.promote(champion(2, parent=1))
    assert store.promote(champion(1)), "also once another has beaten it"
    assert store.current("line") == champion(2, parent=1)
    assert [each.id for each in store.ancestry("line")] == [champion(2).id, champion(1).id]
    assert store.lineages() == ["line"]
    told = (tmp_path / "line/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in told] == [champion(1).id, champion(2).id]


def test_nobody_is_promoted_over_a_champion_that_he_has_not_beaten(store):
    store.promote(champion(1))
    with pytest.raises(Lost):
        store.promote(champion(2))
    store.promote(champion(3, parent=1))
    with pytest.raises(Lost):
        store.promote(champion(2, parent=1))
    assert store.current("line").id == champion(3).id


def test_demoting_puts_the_one_before_back_and_then_none(store):
    store.promote(champion(1))
    store.promote(champion(2, parent=1))
    assert [each and each.id for each in demoted(store)] == [champion(2).id, champion(1).id]
    assert store.current("line").id == champion(1).id
    assert not store.promote(champion(2, parent=1)), "whoever goes on with that evaluation finds it taken back"
    assert store.current("line").id == champion(1).id
    later = champion(2, parent=1, at=datetime(2026, 1, 2, tzinfo=UTC))
    assert store.promote(later)
    assert store.current("line") == later, "evaluated anew, what was demoted may win again"
    demoted(store)
    assert demoted(store)[1] is None
    assert store.current("line") is None
    with pytest.raises(BadInput, match="no champion"):
        demoted(store)


def test_a_patch_that_is_not_utf_8_is_kept_as_its_bytes(store, tmp_path):
    store.promote(champion(1, patch="+\xe9\n", patch_encoding="latin-1"))
    assert (tmp_path / "line" / champion(1).id / "patch.diff").read_bytes() == b"+\xe9\n"


def test_a_death_at_any_step_leaves_the_old_champion_or_the_new_one(tmp_path):
    steps: list[str] = []
    Champions(tmp_path / "dry").promote(champion(1))
    Champions(tmp_path / "dry", disk=Disk(steps.append)).promote(champion(2, parent=1))
    assert "after champion.switch" in steps
    for number, step in enumerate(steps):
        place = tmp_path / str(number)
        Champions(place).promote(champion(1))
        with pytest.raises(Died):
            Champions(place, disk=Disk(dies_at(number))).promote(champion(2, parent=1))
        switched = steps.index("after champion.switch") <= number
        assert Champions(place).current("line").id == champion(2 if switched else 1).id, step
        assert Champions(place).promote(champion(2, parent=1))
        assert Champions(place).current("line").id == champion(2).id
        assert [name for name in os.listdir(place / "line") if name.startswith(".")] == [".lock"]
        told = (place / "line/history.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in told] == [champion(1).id, champion(2).id]


def test_a_death_at_any_step_of_a_demotion_leaves_it_undone_or_done_for_good(tmp_path):
    steps: list[str] = []
    Champions(tmp_path / "dry").promote(champion(1))
    demoted(Champions(tmp_path / "dry", disk=Disk(steps.append)))
    assert {"after champion.mark.rename", "after champion.none"} <= set(steps)
    for number, step in enumerate(steps):
        place = tmp_path / str(number)
        Champions(place).promote(champion(1))
        with pytest.raises(Died):
            demoted(Champions(place, disk=Disk(dies_at(number))))
        done = steps.index("after champion.none") <= number
        assert Champions(place).promote(champion(1)) is not done, step
        assert (Champions(place).current("line") is None) is done
        if not done:
            demoted(Champions(place))
        assert not Champions(place).promote(champion(1))
        assert Champions(place).current("line") is None
        assert [name for name in os.listdir(place / "line") if name.startswith(".")] == [".lock"]


def test_a_torn_line_of_the_history_is_ended_before_the_next_one(store, tmp_path):
    store.promote(champion(1))
    with (tmp_path / "line/history.jsonl").open("ab") as history:
        history.write(b'{"at":"20')
    store.promote(champion(2, parent=1))
    store.promote(champion(2, parent=1))
    lines = (tmp_path / "line/history.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["id"] == champion(2).id


def _contend(place, number, won):
    try:
        won.put((number, Champions(place).promote(champion(number, parent=1))))
    except Lost:
        won.put((number, None))


def test_of_many_who_beat_the_same_champion_one_is_promoted(tmp_path):
    Champions(tmp_path).promote(champion(1))
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    running = [context.Process(target=_contend, args=(tmp_path, number, won)) for number in range(2, 8)]
    for each in running:
        each.start()
    results = dict(won.get(timeout=30) for _ in running)
    for each in running:
        each.join()
    winners = [number for number, promoted in results.items() if promoted]
    assert len(winners) == 1
    assert Champions(tmp_path).current("line").id == champion(winners[0]).id
