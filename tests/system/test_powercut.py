"""The bounded form of bench/powercut.py: what was acknowledged outlives every cut; a careless producer loses some."""

import subprocess
import sys
from pathlib import Path

import disk
import pytest

PROGRAM = Path(disk.__file__).with_name("powercut.py")


@pytest.fixture(autouse=True)
def _possible() -> None:
    if reason := disk.impossible():
        pytest.skip(reason)


def powercut(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)


@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_torn_or_there_twice_after_power_cuts():
    ended = powercut("--acknowledged", "2000", "--handoffs", "40")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 findings" in ended.stdout


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_nothing_acknowledged_is_lost_on_other_file_systems_either(kind):
    if reason := disk.impossible(kind):
        pytest.skip(reason)
    ended = powercut("--kind", kind, "--acknowledged", "600", "--handoffs", "20")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 findings" in ended.stdout


@pytest.mark.timeout(120)
def test_power_is_cut_under_watchers_that_have_nothing_left_to_do_too():
    ended = powercut("--acknowledged", "1", "--handoffs", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 findings" in ended.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("careless", ["no_file_fsync", "no_directory_fsync"])
def test_the_disk_takes_what_a_careless_producer_did_not_flush(careless):
    ended = powercut("--roles", careless, "--acknowledged", "20000", "--handoffs", "0")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert " is gone" in ended.stdout


@pytest.mark.parametrize(
    ("roles", "why"), [("consumer,metrics", "nobody publishes"), ("single,nobody", "no such role")]
)
def test_roles_that_could_never_end_are_refused(roles, why):
    ended = powercut("--roles", roles, "--acknowledged", "10", "--handoffs", "0")
    assert (ended.returncode, why in ended.stderr) == (2, True)
