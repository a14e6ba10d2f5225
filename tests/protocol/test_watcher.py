"""The real watcher on a temporary state directory, with agents that behave and agents that do not.

One watcher serves all the misbehaving agents of a test at once: what each does to its own job must do nothing to the
others. Each bad behaviour names the event that its job's history must show.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import room

from repairlab import documents
from repairlab.documents import Challenger
from repairlab.sandbox.bundle import hash_files
from repairlab.spool import State

Make = Callable[..., Any]
BROKEN, MENDED = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"
TEST = "from calc import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"
NEW = hash_files({"calc.py": MENDED.encode(), "test_calc.py": TEST.encode()})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make the test's room: `make("noop")` has a peer for an agent."""
    made = []

    def build(*words: str, **settings: str) -> Any:
        agent = room.peer(*words, log=tmp_path / "state" / "runs.log")
        made.append(room.Room(tmp_path / "state", agent, **settings))
        return made[-1]

    yield build
    for one in made:
        one.__exit__()


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def calc(here: Any, name: str = "calc") -> Path:
    return here.bundle(name, calc_py=BROKEN, test_calc_py=TEST)


def challengers(here: Any) -> list[Challenger]:
    paths = sorted(here.challengers.path.glob("challenger_*.json"))
    return [documents.decode(path.read_bytes(), Challenger, max_bytes=1 << 25) for path in paths]


def test_a_repaired_job_ends_in_ok_with_its_patch_and_one_challenger(make: Make) -> None:
    here = make("repairs", NEW)
    job_id = here.drop(calc(here), "handoff-mine.json", lineage="mine")
    here.once()
    job = here.job(job_id)
    assert job.state is State.OK
    (challenger,) = challengers(here)
    assert (challenger.idempotency_key, challenger.lineage, challenger.meta_repair) == (job_id, "mine", True)
    assert challenger.patch.encode() == (Path(job.path) / "patch.diff").read_bytes()
    assert here.events(job_id) == ["started", "finished"]
    assert (here.bundles / "calc" / "calc.py").read_text() == BROKEN
    assert "OUTCOME=repaired LINEAGE=mine" in here.said()


def test_a_passing_bundle_becomes_a_challenger_that_is_no_repair(make: Make) -> None:
    here = make("noop")
    job_id = here.drop(calc(here))
    here.once()
    assert here.job(job_id).state is State.OK
    assert [challenger.meta_repair for challenger in challengers(here)] == [False]


def test_a_hopeless_job_is_tried_three_times_harder_each_time_and_recognised_under_another_name(make: Make) -> None:
    here = make("hopeless")
    bundle = calc(here)
    first = here.drop(bundle)
    watcher = here.start()
    here.wait_state(first, State.HARD_FAIL)
    assert [run[2] for run in here.runs()] == ["1", "2", "3"]
    second = here.drop(bundle, "handoff-again.json", reason="filed under another name")
    here.wait_state(second, State.HARD_FAIL)
    assert here.stop(watcher) == 0
    assert len(here.runs()) == 3
    assert first in here.job(second).reason()["reason"]
    assert here.events(second) == ["quarantined"]


def test_a_watcher_restarted_in_the_window_keeps_its_memory_of_failures(make: Make) -> None:
    here = make("hopeless", QUEUE_BACKOFF_BASE_S="0.01", QUEUE_BACKOFF_CAP_S="0.02")
    job_id = here.drop(calc(here))
    for _ in range(6):
        here.once()
        time.sleep(0.03)
        if here.job(job_id).state is State.HARD_FAIL:
            break
    assert here.job(job_id).state is State.HARD_FAIL
    assert [run[2] for run in here.runs()] == ["1", "2", "3"]


# behaviour → the event in the job's history, and a word of its reason
CRASHES = {
    "floods": "more than",
    "segfaults": "signal 11",
    "exits 70": "the last line says why",
    "exits 3": "exit code 3",
    "silent": "empty",
    "garbage": "not one telemetry object",
    "two_objects": "not one telemetry object",
    "talks_on_stdout": "not one telemetry object",
    "nests_deeply": "nests deeper",
    "not_a_number": "not one telemetry object",
    "missing_field": "bundle_sha256",
    "twenty_megabytes": "more than",
    "answers_and_exits 1": "exit code is 1",
    "negative_and_exits_0": "exit code is 0",
    "lies_about_parent": "parent_sha256",
    "noop_with_other_hash": "another bundle_sha256",
    "repaired_without_patch": "patch.diff cannot be read",
    "patch_is_a_link": "patch.diff cannot be read",
    "patch_is_a_fifo": "patch.diff cannot be read",
    "patch_escapes": "not a plain path",
    "patch_does_not_apply": "No such file",
    "spoils_the_bundle": "was changed",
}
TROUBLE_OF_OURS = ("exits 75", "exits 69", "exits 64", "exits 2", "exits 127")


def test_no_misbehaving_agent_harms_any_job_but_its_own(make: Make) -> None:
    here = make("by_bundle", WATCHER_CONCURRENCY="4", QUEUE_BACKOFF_BASE_S="600", QUEUE_BACKOFF_CAP_S="600")
    crashes = {here.drop(here.behaving(words)): reason for words, reason in CRASHES.items()}
    rejected = here.drop(here.behaving("exits 65"))
    failed = here.drop(here.behaving("hopeless"))
    good = [here.drop(here.behaving("noop", number)) for number in range(5)]
    watcher = here.start()
    here.wait(lambda: len(here.jobs(State.DEFERRED, State.REJECTED, State.OK)) == len(crashes) + 7, 50)
    for job_id, reason in crashes.items():
        last = here.job(job_id).attempts()[-1]
        assert last["event"] == "crashed", (last, reason)
        assert reason in last["reason"]
    assert here.events(failed)[-1] == "failed"
    assert here.job(rejected).reason()["reason"] == "the last line says why"
    assert {here.job(job_id).state for job_id in good} == {State.OK}
    assert here.stop(watcher) == 0
    assert len(challengers(here)) == len(good)


def test_trouble_of_our_own_counts_against_no_job(make: Make) -> None:
    here = make("by_bundle")
    ids = [here.drop(here.behaving(words)) for words in TROUBLE_OF_OURS[:2]]
    watcher = here.start()
    for job_id in ids:
        job = here.wait_state(job_id, State.DEFERRED)
        assert [event["event"] for event in job.attempts()] == ["started", "deferred"]
        assert job.attempts()[-1]["reason"] == "the last line says why"
    assert here.stop(watcher) == 0


def test_a_broken_agent_command_pauses_the_queue_instead_of_failing_it(make: Make) -> None:
    here = make("noop")
    here.settings["WATCHER_AGENT"] = '["/nonexistent/agent"]'
    ids = [here.drop(here.behaving("noop", number)) for number in range(6)]
    watcher = here.start()
    here.wait(lambda: "claiming pauses" in here.said())
    assert here.stop(watcher) == 0
    assert {event for job_id in ids for event in here.events(job_id)} <= {"started", "deferred", "interrupted"}
    assert not here.jobs(State.HARD_FAIL)


def test_agents_beyond_their_deadline_are_ended_and_count_as_failures(make: Make) -> None:
    here = make("by_bundle", WATCHER_CONCURRENCY="5", QUEUE_BACKOFF_BASE_S="600", QUEUE_BACKOFF_CAP_S="600")
    slow = ("hangs", "ignores_sigterm", "stops_itself", "answers_on_sigterm")
    ids = [here.drop(here.behaving(words), limits={"wall_s": 0.3}) for words in slow]
    quick = here.drop(here.behaving("noop"))
    watcher = here.start()
    here.wait_state(quick, State.OK)
    for job_id in ids:
        last = here.wait_state(job_id, State.DEFERRED).attempts()[-1]
        assert (last["event"], last["reason"]) == ("failed", "deadline")
    assert here.stop(watcher) == 0
    assert not [run for run in here.runs() if alive(int(run[3]))]


@pytest.mark.parametrize("behaviour", ["forks_daemon", "leaves_child"])
def test_what_an_agent_leaves_running_is_ended_and_holds_no_lock(make: Make, tmp_path: Path, behaviour: str) -> None:
    here = make("by_bundle")
    pid_file = tmp_path / "daemon.pid"
    job_id = here.drop(here.behaving(f"{behaviour} {pid_file}"))
    watcher = here.start()
    here.wait_state(job_id, State.HARD_FAIL)  # three times: each attempt could be claimed
    here.wait(lambda: not alive(int(pid_file.read_text())))
    assert here.stop(watcher) == 0


def test_an_agent_that_kills_the_parent_of_all_workers_stops_nobody_for_long(make: Make) -> None:
    here = make("by_bundle")
    killer = here.drop(here.behaving("kills_parent"))
    watcher = here.start()
    here.wait(lambda: "orphaned" in here.events(killer))
    good = [here.drop(here.behaving("noop", number)) for number in range(3)]
    for job_id in good:
        here.wait_state(job_id, State.OK)
    assert here.stop(watcher) == 0
    assert not [run for run in here.runs() if alive(int(run[3]))]


def test_sigterm_lets_a_running_agent_finish(make: Make) -> None:
    here = make("slow", "0.7")
    job_id = here.drop(calc(here))
    watcher = here.start()
    here.wait(here.runs)
    here.drop(here.behaving("noop"))
    assert here.stop(watcher) == 0
    assert here.job(job_id).state is State.OK
    assert len(here.jobs(State.WAITING, State.DEFERRED)) == 1


def test_after_the_grace_time_jobs_are_handed_back_untouched(make: Make) -> None:
    here = make("hangs", WATCHER_GRACE_S="0.2")
    job_id = here.drop(calc(here))
    watcher = here.start()
    here.wait(here.runs)
    assert here.stop(watcher) == 0
    assert here.events(job_id) == ["started", "interrupted"]
    assert here.job(job_id).state is State.DEFERRED
    assert not alive(int(here.runs()[0][3]))


def test_a_second_sigterm_does_not_wait_for_the_grace_time(make: Make) -> None:
    here = make("hangs", WATCHER_GRACE_S="60")
    job_id = here.drop(calc(here))
    watcher = here.start()
    here.wait(here.runs)
    watcher.send_signal(signal.SIGTERM)
    here.wait(lambda: "stopping" in here.said())
    assert here.stop(watcher, within_s=10) == 0
    assert here.events(job_id)[-1] == "interrupted"


def test_a_killed_watcher_leaves_nothing_running_and_its_job_is_taken_over_within_seconds(make: Make) -> None:
    here = make("by_bundle", WATCHER_GRACE_S="0")
    job_id = here.drop(here.behaving("hangs"), limits={"wall_s": 60})
    first = here.start()
    here.wait(here.runs)
    agent = int(here.runs()[0][3])
    second = here.start()
    here.wait(lambda: here.said().count("serving") == 2)
    first.kill()
    first.wait()
    began = time.monotonic()
    here.wait(lambda: not alive(agent), 5)
    here.wait(lambda: len(here.runs()) == 2, 10)
    assert time.monotonic() - began < 10  # one or two on an idle machine; nothing of it waits for a bound of the job
    assert here.events(job_id) == ["started", "orphaned", "started"]
    assert here.stop(second) == 0


def test_one_lineage_whose_agents_hang_does_not_keep_the_others_waiting(make: Make) -> None:
    here = make("by_bundle", WATCHER_GRACE_S="0")
    for number in range(4):
        here.drop(here.behaving("hangs", number), lineage="hostile")
    watcher = here.start()
    here.wait(lambda: len(here.runs()) >= 2)
    good = [here.drop(here.behaving("noop", number), lineage="honest") for number in range(3)]
    for job_id in good:
        here.wait_state(job_id, State.OK)
    assert here.stop(watcher) == 0


def test_sighup_reads_the_configuration_again_and_a_wrong_one_changes_nothing(make: Make, tmp_path: Path) -> None:
    here = make("noop")
    file = tmp_path / "config.toml"
    file.write_text("[bundles]\nmax_files = 1\n")
    watcher = here.start(REPAIRLAB_CONFIG=str(file))
    refused = here.wait_state(here.drop(calc(here, "one")), State.REJECTED)
    assert "more than 1 files" in refused.reason()["reason"]
    file.write_text("[bundles]\nmax_files = 100\n")
    watcher.send_signal(signal.SIGHUP)
    here.wait(lambda: "read again" in here.said())
    here.wait_state(here.drop(calc(here, "two")), State.OK)
    file.write_text("[bundles]\nmax_files = true\n")
    watcher.send_signal(signal.SIGHUP)
    here.wait(lambda: "not reloaded" in here.said())
    here.wait_state(here.drop(here.behaving("noop")), State.OK)
    assert here.stop(watcher) == 0


def test_a_full_disk_pauses_claiming_and_loses_nothing(make: Make) -> None:
    here = make("noop", WATCHER_MIN_FREE_MB=str(1 << 30))
    job_id = here.drop(calc(here))
    watcher = here.start()
    here.wait(lambda: "MiB are free" in here.said())
    assert here.jobs().keys() == here.jobs(State.WAITING).keys()
    assert here.stop(watcher) == 0
    here.settings["WATCHER_MIN_FREE_MB"] = "0"
    here.once()
    assert here.job(job_id).state is State.OK


def test_a_removed_queue_is_made_again_and_served(make: Make) -> None:
    here = make("noop")
    watcher = here.start()
    here.wait_state(here.drop(calc(here)), State.OK)
    here.queue.path.rename(here.root / "gone")
    here.wait((here.queue.path / "deferred").exists)
    here.queue.create()
    here.wait_state(here.drop(here.behaving("noop")), State.OK)
    assert here.stop(watcher) == 0


@pytest.mark.parametrize("argv", [["--concurrency", "0"], ["--nonsense"], ["extra"]])
def test_a_wrong_command_line_is_a_usage_error(make: Make, argv: list[str]) -> None:
    here = make("noop")
    assert here.start(*argv).wait(30) == os.EX_USAGE
    assert "--help" in here.said()


def test_a_wrong_configuration_is_said_at_once(make: Make) -> None:
    here = make("noop", WATCHER_CONCURRENCY="many")
    assert here.start().wait(30) == os.EX_CONFIG
    assert "REPAIRLAB_WATCHER_CONCURRENCY" in here.said()


def test_a_resumed_job_runs_no_second_agent(make: Make) -> None:
    here = make("noop")
    job_id = here.drop(calc(here))
    here.once()
    (before,) = [path.read_bytes() for path in here.challengers.path.glob("*.json")]
    path = Path(here.job(job_id).path)
    # As if the watcher had died between the challenger and the rename that ends the job.
    lines = (path / "attempts.jsonl").read_text().splitlines(keepends=True)
    (path / "attempts.jsonl").write_text("".join(line for line in lines if '"finished"' not in line))
    path.rename(here.queue.path / "active" / job_id)
    here.wait(lambda: (here.once(), here.job(job_id).state is State.OK)[1])
    assert len(here.runs()) == 1
    assert [path.read_bytes() for path in here.challengers.path.glob("*.json")] == [before]
    assert orjson.loads(before)["idempotency_key"] == job_id
