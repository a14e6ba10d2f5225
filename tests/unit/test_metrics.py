"""The metrics log: each row once and whole, whatever dies; sums that agree with the rows."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from dying import Died, dies_at

from repairlab.documents import Components, Course, Decision, MetricsRow, Strategy
from repairlab.errors import TemporaryFailure
from repairlab.metrics import BY, MetricsLog, Sums
from repairlab.spool.disk import Disk

EPOCH = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
SHA = "ab" * 32


def row(number: int, **fields) -> MetricsRow:
    parts = Components(
        correctness=1, safety=1, performance=0.5, robustness=1, documentation=0.5, stability=1 - number % 10 / 10
    )
    known = {
        "timestamp": EPOCH + timedelta(minutes=number),
        "id": f"{number:024x}",
        "path": Course.CHALLENGER,
        "lineage": f"line-{number % 3}",
        "fitness": (number % 10) / 10,
        "components": parts,
        "decision": Decision.PROMOTED if number % 5 == 0 else Decision.NOT_BETTER,
        "meta_repair": number % 2 == 0,
        "bundle_sha256": SHA,
        "parent_sha256": SHA,
        "median_ms": 10.0 * (1 + number % 2),
        "repair_strategy": Strategy.HEURISTIC_MICROFIX if number % 2 == 0 else None,
    }
    return MetricsRow(**(known | fields))


@pytest.fixture
def log(tmp_path):
    made = MetricsLog(tmp_path / "metrics")
    yield made
    made.close()


def test_rows_come_back_in_order_as_they_were_written(log):
    rows = [row(number) for number in range(20)]
    assert all(log.append(each) for each in rows)
    assert list(log.rows()) == rows
    assert json.loads(log.path.read_text().splitlines()[3])["lineage"] == "line-0"


def test_an_unfinished_line_is_one_damaged_row_and_the_next_row_stands_alone(log):
    log.append(row(1))
    with log.path.open("ab") as stream:
        stream.write(b'{"timestamp":"2026-01-3')
    assert len(list(log.rows())) == 1, "its writer may still be at work"
    assert log.sums().damaged == 0
    log.append(row(2))
    assert [each.id for each in log.rows()] == [row(1).id, row(2).id]
    assert log.sums().damaged == 1


@pytest.mark.parametrize("damage", [b"\n", b"[]\n", b"{}\n", b"null\n", b'{"id":1}\n', b"\xff\xfe\n", b'{"id":"a"}\n'])
def test_damaged_lines_are_skipped_and_counted(log, damage):
    log.append(row(1))
    with log.path.open("ab") as stream:
        stream.write(damage)
    log.append(row(2))
    assert len(list(log.rows())) == 2
    assert (log.sums().all.rows, log.sums().damaged) == (2, 1)


def test_a_row_that_may_have_been_written_before_is_written_once(log):
    log.append(row(1))
    place = log.end()
    assert log.append(row(2), since=place)
    log.append(row(3))
    assert not log.append(row(2), since=place)
    assert [each.id for each in log.rows()] == [row(n).id for n in (1, 2, 3)]


def test_a_death_at_any_step_leaves_a_row_once_or_not_at_all(tmp_path):
    """The steps are those of an append that rotates, the last of which a repetition must find done."""
    steps: list[str] = []
    place = MetricsLog(tmp_path / "dry").end()
    MetricsLog(tmp_path / "dry", rotate_bytes=1, disk=Disk(steps.append)).append(row(0), since=place)
    assert {"before metrics.write", "after metrics.fsync", "after metrics.rotate"} <= set(steps)
    for number in range(len(steps)):
        place = MetricsLog(tmp_path / str(number)).end()
        victim = MetricsLog(tmp_path / str(number), rotate_bytes=1, disk=Disk(dies_at(number)))
        with pytest.raises(Died):
            victim.append(row(7), since=place)
        victim.close()
        after = MetricsLog(tmp_path / str(number), rotate_bytes=1)
        after.append(row(7), since=place)
        assert [each.id for each in after.rows()] == [row(7).id], steps[number]
        assert (after.sums().all.rows, after.sums().damaged) == (1, 0)


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path):
    log = MetricsLog(tmp_path)
    log.append(row(1))
    before = log.path.read_bytes()
    with pytest.raises(TemporaryFailure, match="disk is full"):
        MetricsLog(tmp_path, disk=_Full()).append(row(2))
    assert log.path.read_bytes() == before


class _Full(Disk):
    """Writes half of a row and then finds the disk full."""

    def do(self, step, call, *args, **kwargs):
        if step != "metrics.write":
            return super().do(step, call, *args, **kwargs)
        os.write(args[0], args[1][:20])
        raise OSError(28, os.strerror(28))


def test_full_segments_are_read_from_their_sums_and_again_where_these_are_wrong(tmp_path):
    log = MetricsLog(tmp_path, rotate_bytes=2000)
    rows = [row(number) for number in range(40)]
    for each in rows:
        log.append(each)
    segments = sorted(tmp_path.glob("metrics-*.jsonl"))
    assert len(segments) > 3
    live = [log.path] if log.path.exists() else []
    expected = Sums.of(line for path in [*segments, *live] for line in path.read_bytes().splitlines(keepends=True))
    assert log.sums() == expected
    sums = sorted(tmp_path.glob("*.sums"))
    assert len(sums) == len(segments)
    sums[0].write_bytes(b"{")
    sums[1].unlink()
    segments[2].write_bytes(segments[2].read_bytes() + b"garbage\n")
    assert log.sums().damaged == 1
    assert log.sums().all == expected.all
    assert list(log.rows()) == rows


def test_sums_agree_with_the_rows(log):
    rows = [row(number) for number in range(60)]
    for each in rows:
        log.append(each)
    sums = log.sums()
    assert set(sums.groups) == {*BY, "hour"}
    ours = [each for each in rows if each.lineage == "line-1"]
    found = sums.groups["lineage"]["line-1"]
    assert found.rows == len(ours)
    assert found.promoted == sum(each.decision is Decision.PROMOTED for each in ours)
    assert found.repairs == sum(each.meta_repair for each in ours)
    assert found.fitness_mean == pytest.approx(sum(each.fitness for each in ours) / len(ours))
    assert found.best == max(ours, key=lambda each: each.fitness).id
    assert found.ms == pytest.approx(200**0.5, rel=0.05)
    assert sums.groups["hour"]["2026-01-31T22"].rows == 30
    sums.take(orjson.dumps({"id": "x", "timestamp": "2026", "fitness": 0.1, "meta_repair": False, "lineage": "line-2",
                            "decision": "promoted"}))  # fmt: skip
    assert [key for key, _ in sums.top("lineage", 1)] == ["line-2"]


APPENDER = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from test_metrics import row
from repairlab.metrics import MetricsLog
log = MetricsLog(Path(sys.argv[1]), rotate_bytes=5000)
for number in range(100):
    log.append(row(1000 * int(sys.argv[2]) + number))
"""


def test_processes_that_append_at_once_lose_and_tear_nothing(tmp_path):
    here = str(Path(__file__).parent)
    running = [subprocess.Popen([sys.executable, "-c", APPENDER, tmp_path, str(n), here]) for n in range(4)]
    assert [each.wait() for each in running] == [0] * 4
    log = MetricsLog(tmp_path)
    assert {each.id for each in log.rows()} == {row(1000 * n + m).id for n in range(4) for m in range(100)}
    assert (log.sums().all.rows, log.sums().damaged) == (400, 0)
