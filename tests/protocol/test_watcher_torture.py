"""Watchers that are killed again and again: the bounded form of bench/torture.py, and what its checks are worth."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import room
import torture

from repairlab.spool import State


@pytest.mark.timeout(120)
def test_killed_watchers_neither_lose_nor_double_a_job_or_its_challenger(tmp_path: Path) -> None:
    agent = room.peer("by_bundle", log=tmp_path / "state" / "runs.log")
    with room.Room(tmp_path / "state", agent) as here:
        kinds = torture.dropped(here, 60)
        kills = torture.torture(here, 2, 4.0, 0.15, random.Random(1))
        torture.served(here, kinds, 60)
        assert kills >= 3
        assert torture.findings(here, kinds) == []
        assert "orphaned" in here.said()  # somebody did die with a job in hand
        _the_checks_have_teeth(here, kinds)


def _the_checks_have_teeth(here: Any, kinds: dict[str, str]) -> None:
    """Lose and double a job and a challenger by hand: each must be found."""
    ok = here.jobs(State.OK)
    lost, doubled = sorted(ok)[:2]
    shutil.rmtree(ok[lost].path)
    shutil.copytree(ok[doubled].path, here.queue.path / "deferred" / doubled)
    first, second = sorted(here.challengers.path.glob("*.json"))[:2]
    shutil.copy(first, first.with_name("challenger_again.json"))
    second.unlink()
    found = "\n".join(torture.findings(here, kinds))
    assert f"{lost} (noop) is in None" in found
    assert f"{doubled} (noop) is in [" in found
    assert "has 2 challengers" in found
    assert "has no challenger" in found
