"""bench/handoff and bench/cgroup: what ran unseen is counted, and the CPU of a stage is what was used in its time."""

import os
import signal
import subprocess

import cgroup
import pytest
from handoff import Meter, summed

# Burns CPU in a grandchild that is killed, and that nobody waits for; tells that it has burnt.
BURNING = "(while :; do :; done) & echo $!; sleep 1000"


@pytest.fixture
def group():
    path = cgroup.made()
    if path is None:
        pytest.skip("no control group here that is ours to divide")
    yield path
    cgroup.remove(os.getsid(0))


def test_cpu_of_what_was_killed_and_never_waited_for_is_counted(group):
    stat = os.open(group / "cpu.stat", os.O_RDONLY)
    assert cgroup.used_ms(stat) < 1000
    command = [*cgroup.entering(group), "sh", "-c", BURNING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        burner = int(process.stdout.readline())
        before = cgroup.used_ms(stat)
        while cgroup.used_ms(stat) < before + 50:
            os.sched_yield()
        os.kill(burner, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
    assert cgroup.used_ms(stat) >= before + 50
    os.close(stat)


def test_the_meter_says_when_nothing_runs_any_more(group):
    meter = Meter(group)
    settled = meter.settled()
    assert meter.until(settled) == meter.until(settled - 1)
    meter.close()


def test_cpu_between_two_looks_is_shared_out_by_time(group):
    meter = Meter(group)
    meter.close()
    meter._at, meter._used = [1000.0, 1010.0, 1020.0], [5.0, 5.0, 25.0]
    assert [meter.until(at) for at in (900, 1000, 1010, 1015, 1020, 2000)] == [5.0, 5.0, 5.0, 15.0, 25.0, 25.0]


def test_what_is_ours_is_all_but_search_and_tests_and_a_stage_in_two_pieces_is_one():
    told = [("claim", 1.0), ("report", 2.0), ("collect", 10.0), ("search", 20.0), ("verify", 30.0), ("report", 4.0)]
    found = summed(told)
    assert found["report"] == 6.0
    assert found["in all"] == 67.0
    assert found["of ours"] == 7.0
