"""The account that an attempt keeps of its strategies."""

from repairlab.documents import Strategy
from repairlab.repair.stages import Ledger


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
