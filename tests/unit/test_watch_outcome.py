"""watch.outcome: every end of every worker has exactly one meaning, and whose fault it is decides which."""

import signal

import pytest

from repairlab.watch.outcome import TABLE, VERDICTS, End, Killed, Phase, Ruling, Verdict, ruling

WORKERS = (Phase.PREPARE, Phase.AGENT, Phase.JUDGE)
COUNTED = {Ruling.FAIL, Ruling.CRASH}


def exited(code: int, killed: Killed = Killed.NO) -> End:
    return End(code, killed)


def test_every_end_of_every_worker_has_one_ruling() -> None:
    ends = [exited(code, killed) for code in range(256) for killed in Killed]
    ends += [End(-number, killed) for number in range(1, 65) for killed in Killed]
    ends += [End(None), End(None, Killed.STOPPING)]
    assert {ruling(phase, end) for phase in WORKERS for end in ends} == set(Ruling) - {Ruling.FINISH}


@pytest.mark.parametrize("phase", WORKERS)
@pytest.mark.parametrize("code", [64, 69, 75, 77, 78, 127])
def test_trouble_of_ours_never_counts(phase: Phase, code: int) -> None:
    assert ruling(phase, exited(code)) not in COUNTED | {Ruling.REJECT}


@pytest.mark.parametrize("phase", WORKERS)
def test_stopping_hands_back_however_the_worker_ends(phase: Phase) -> None:
    for status in (0, 1, 70, -signal.SIGKILL):
        assert ruling(phase, End(status, Killed.STOPPING)) is Ruling.HAND_BACK


@pytest.mark.parametrize("status", [70, 3, 255, -signal.SIGSEGV, -signal.SIGKILL])
def test_an_agent_that_dies_by_itself_has_crashed(status: int) -> None:
    assert ruling(Phase.AGENT, End(status)) is Ruling.CRASH


def test_a_deadline_is_a_failure_unless_the_answer_came_just_before_the_axe() -> None:
    assert ruling(Phase.AGENT, End(-signal.SIGKILL, Killed.DEADLINE)) is Ruling.FAIL
    assert ruling(Phase.AGENT, exited(70, Killed.DEADLINE)) is Ruling.FAIL
    assert ruling(Phase.AGENT, exited(0, Killed.DEADLINE)) is Ruling.PROCEED
    assert ruling(Phase.AGENT, exited(1, Killed.DEADLINE)) is Ruling.PROCEED


def test_bad_input_is_rejected_and_only_where_the_input_is_read() -> None:
    assert ruling(Phase.PREPARE, exited(65)) is ruling(Phase.AGENT, exited(65)) is Ruling.REJECT
    assert ruling(Phase.JUDGE, exited(65)) is Ruling.CRASH


def test_what_is_lost_with_the_parent_of_the_workers_always_counts_somewhere() -> None:
    assert ruling(Phase.AGENT, End(None)) is Ruling.ORPHAN
    assert ruling(Phase.PREPARE, End(None)) is Ruling.CRASH
    assert ruling(Phase.JUDGE, End(None)) is Ruling.KEEP


def test_every_verdict_has_a_ruling_and_no_row_repeats_the_default() -> None:
    assert set(VERDICTS) == set(Verdict)
    for phase, rows in TABLE.items():
        assert phase is Phase.PREPARE or Ruling.CRASH not in rows.values()


def test_an_end_says_in_words_what_happened() -> None:
    assert str(exited(70)) == "exit code 70"
    assert str(End(-signal.SIGSEGV)) == "signal 11"
    assert str(End(None)) == "lost with the workers' parent"
