"""`repairlab demote` killed at every system call by which it changes the state directory, and then given again."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from tracing import deaths, traced

from repairlab.champions import Champions
from repairlab.documents import Champion, Components, Decision, Strategy
from repairlab.errors import reported
from repairlab.metrics import MetricsLog
from repairlab.operate.main import main

FIRST, SECOND, THIRD = (f"{number:024x}" for number in (1, 2, 3))
AT = datetime(2026, 1, 1, tzinfo=UTC)
ONES = Components(correctness=1, safety=1, performance=1, robustness=1, documentation=1, stability=1)


def promote(root, name, parent, at=AT):
    made = Champion(
        id=name, at=at, lineage="line", parent=parent, bundle_dir="/srv/b", bundle_sha256="a" * 64,
        parent_sha256="b" * 64, patch="--- a/x\n", fitness=0.5, components=ONES, strategy=Strategy.MULTI_EDIT,
    )  # fmt: skip
    assert Champions(root / "champions").promote(made)


@pytest.fixture
def world(tmp_path):
    """Makes state directories in which THIRD stands before SECOND and FIRST."""

    def made(name):
        for champion, parent in ((FIRST, None), (SECOND, FIRST), (THIRD, SECOND)):
            promote(tmp_path / name, champion, parent)
        (tmp_path / name / "metrics").mkdir()
        return tmp_path / name

    return made


def demote(root, *words):
    os.environ["REPAIRLAB_ROOT"] = str(root)
    return reported(main, ["demote", "line", *words])


def rows(root):
    found = [
        row.id.partition("-")[0] for row in MetricsLog(root / "metrics").rows() if row.decision is Decision.DEMOTED
    ]
    return {name: found.count(name) for name in found}


def stands(root):
    champion = Champions(root / "champions").current("line")
    return champion and champion.id


def told(root):
    history = (root / "champions/line/history.jsonl").read_text().splitlines()
    return [line for line in history if '"demoted"' in line]


def test_killed_at_every_step_and_given_again_it_demotes_the_champion_that_was_meant_and_tells_of_it_once(world):
    whole = world("recorded")
    recorded = traced(lambda: demote(whole, THIRD), whole, lambda _: False)
    assert recorded.code == 0
    switch = max(number for number, step in enumerate(recorded.steps) if step.call[:6] == "rename")
    begun = [number for number, step in enumerate(recorded.steps) if "demoted.json" in step.path]
    assert 0 < max(begun, default=0) < switch, "the mark comes first"
    assert any(step.path == "metrics/metrics.jsonl" for step in recorded.steps[:switch])
    for number, tear in deaths(recorded.steps):
        root = world(f"{number}-{tear}")
        died = traced(
            lambda root=root: demote(root, THIRD), root, lambda steps, number=number: len(steps) > number, tear=tear
        )
        assert died.code is None
        again = traced(lambda root=root: demote(root, THIRD), root, lambda _: False)
        assert again.code == (0 if number <= switch else os.EX_DATAERR), recorded.steps[number]
        assert (stands(root), rows(root)) == (SECOND, {THIRD: 1}), (number, tear, recorded.steps[number])
        assert [path.name for path in root.glob("champions/line/**/.*")] == [".lock"]


def test_without_an_id_a_demotion_that_was_begun_is_gone_on_with_and_no_other_is_made(world):
    root = world("state")
    died = traced(lambda: demote(root), root, lambda steps: steps[-1].path.endswith("line/current"))
    assert (died.code, stands(root), rows(root)) == (None, THIRD, {THIRD: 1})
    assert traced(lambda: demote(root), root, lambda _: False).code == 0
    assert (stands(root), rows(root), len(told(root))) == (SECOND, {THIRD: 1}, 1)


def test_a_demotion_that_a_promotion_overtook_is_not_taken_for_a_later_one_of_the_same_champion(world):
    root = world("state")
    traced(lambda: demote(root), root, lambda steps: steps[-1].path.endswith("line/current"))
    promote(root, "f" * 24, THIRD, AT + timedelta(days=1))
    for _ in range(2):
        assert traced(lambda: demote(root), root, lambda _: False).code == 0
    assert (stands(root), rows(root)) == (SECOND, {THIRD: 2, "f" * 24: 1})


def test_an_id_that_stands_no_more_is_refused_and_nothing_is_changed(world, capfd):
    root = world("state")
    assert traced(lambda: demote(root, SECOND), root, lambda _: False).code == os.EX_DATAERR
    assert (stands(root), rows(root)) == (THIRD, {})
    assert f"another champion than {SECOND}" in capfd.readouterr().err
