"""The account that an attempt keeps of its strategies."""

from repairlab.documents import Strategy
from repairlab.repair.candidates import generate, widened
from repairlab.repair.ground import reach
from repairlab.repair.literals import project_of
from repairlab.repair.stages import Ledger
from repairlab.trial.source import Source
from repairlab.trial.testrun import TestRun


def whys(ledger):
    return {run.strategy: run.why for run in ledger.told()}


def test_strategies_are_told_in_their_order_and_those_not_reached_say_so():
    told = Ledger().told()
    assert [run.strategy for run in told] == [
        "noop",
        "pattern_transplant",
        "signature_adapter",
        "heuristic_microfix",
        "multi_edit",
        "llm_patch",
    ]
    assert {run.why for run in told} == {"not reached"}


def test_a_strategy_that_found_a_patch_says_found_however_it_ended():
    ledger = Ledger()
    ledger.open(Strategy.PATTERN_TRANSPLANT, Strategy.SIGNATURE_ADAPTER)
    ledger.charge(Strategy.PATTERN_TRANSPLANT, tried=3, plausible=1)
    ledger.close(Strategy.PATTERN_TRANSPLANT, "deadline")
    ledger.close(Strategy.SIGNATURE_ADAPTER, "exhausted", "none known")
    assert whys(ledger)["pattern_transplant"] == "found"
    assert whys(ledger)["signature_adapter"] == "none known"


def test_what_runs_when_the_attempt_is_interrupted_says_so():
    ledger = Ledger()
    ledger.open(Strategy.HEURISTIC_MICROFIX, Strategy.MULTI_EDIT)
    ledger.charge(Strategy.HEURISTIC_MICROFIX, tried=1)
    ledger.close(Strategy.HEURISTIC_MICROFIX, "exhausted")
    ledger.end("exhausted")
    assert (whys(ledger)["heuristic_microfix"], whys(ledger)["multi_edit"]) == ("exhausted", "interrupted")


def candidates(width):
    text = "def f(a, b, c, d, e, f, g, h, i, j):\n    k = a + b\n    return k - c * d[e]\n"
    sources = {"m.py": Source("m.py", text, "utf-8")}
    return generate(sources, {("m.py", 2): 0.7, ("m.py", 3): 1.0}, project_of({}, sources, {}, width))


def test_the_second_attempt_begins_with_what_the_first_did_not_try():
    first, wide = candidates(1), candidates(2)
    known = {change.key for change in first}
    new = [change for change in wide if change.key not in known]
    again = widened(wide, first)
    assert new
    assert {change.key for change in again} == {change.key for change in wide} > known
    rank = [change.key for change in again].index(new[0].key)
    assert rank < [change.key for change in wide].index(new[0].key) / 3


def test_what_the_first_attempt_had_no_time_for_keeps_its_place_in_the_second():
    first, wide = candidates(1), candidates(2)
    again = widened(wide, first[:5])
    assert again[0].key == first[5].key


def test_slow_tests_reach_fewer_candidates():
    quick, slow = TestRun("t", "f", cpu_s=0.001), TestRun("u", "f", cpu_s=0.52)
    assert reach([quick, slow], [0, 1], 100.0) == 20_000
    assert reach([quick, slow], [1, 0], 100.0) == 198
