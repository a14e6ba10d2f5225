"""watch.pressure: a full disk (a threshold above what any disk has), and the breaker, on a clock of the test's own."""

from pathlib import Path

from repairlab.watch.pressure import LONGEST_S, Pressure


def test_enough_space_is_no_pressure(tmp_path: Path) -> None:
    assert Pressure(tmp_path, 0).why_not(0) == ""


def test_a_full_disk_stops_claiming_and_is_measured_again_each_second(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path, 1 << 40)
    assert "MiB are free" in pressure.why_not(0)
    assert pressure.next_change(0.5) == 1.0


def test_a_missing_state_directory_is_said_by_name(tmp_path: Path) -> None:
    assert "No such file" in Pressure(tmp_path / "gone", 0).why_not(0)


def test_three_jobs_in_trouble_open_the_breaker_and_pauses_double_up_to_a_bound(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path, 0)
    pressure.suffer("a", "no sandbox", 0)
    pressure.suffer("b", "no sandbox", 0)
    assert not pressure.probing
    assert pressure.why_not(0) == ""
    pressure.suffer("c", "no sandbox", 0)
    assert pressure.probing
    assert pressure.why_not(0.9) == "no sandbox"
    assert pressure.why_not(1.0) == ""
    pressure.suffer("d", "no sandbox", 1.0)
    assert pressure.next_change(1.0) == 3.0
    for number in range(20):
        pressure.suffer(f"e{number}", "no sandbox", 100.0)
    assert pressure.next_change(100.0) == 100.0 + LONGEST_S


def test_one_job_in_trouble_again_and_again_stops_nobody_else(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path, 0)
    for at in range(10):
        pressure.suffer("a", "its own", at)
    assert not pressure.probing


def test_any_answer_closes_the_breaker(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path, 0)
    for job in "abcd":
        pressure.suffer(job, "no sandbox", 0)
    pressure.relieve()
    assert pressure.why_not(0) == ""
    assert not pressure.probing


def test_claims_that_fail_before_they_have_a_name_count_each_time(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path, 0)
    for _ in range(3):
        pressure.suffer("", "the disk is full", 0)
    assert pressure.why_not(0) == "the disk is full"
