"""watch.slots: the shares, and that nobody is shut out."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from repairlab.watch.slots import Slots


@dataclass(frozen=True)
class Waiting:
    lineage: str
    submitter: int = 0


A, B, C = Waiting("a"), Waiting("b"), Waiting("c", submitter=1)


def holding(slots: Slots, *entries: Waiting) -> Slots:
    for entry in entries:
        slots.hold(entry)
    return slots


def test_while_others_wait_one_lineage_gets_all_slots_but_one() -> None:
    slots = holding(Slots(4), A, A)
    assert slots.fair(A)
    assert not holding(slots, A).fair(A)
    assert slots.fair(B)


def test_alone_a_lineage_may_have_all_slots_and_no_more() -> None:
    slots = holding(Slots(2), A)
    assert slots.any(A)
    assert not holding(slots, A).any(A)


def test_who_has_none_is_let_in_beyond_the_slots_where_one_has_all() -> None:
    slots = holding(Slots(2), A, A)
    assert slots.room
    assert slots.any(B)
    assert slots.any(C)
    assert not holding(slots, B).room


def test_many_lineages_of_one_submitter_do_not_shut_out_another() -> None:
    slots = holding(Slots(2), A, B)
    assert slots.any(C)
    assert not slots.any(Waiting("new"))


def test_slots_shared_by_two_have_no_reserve() -> None:
    slots = holding(Slots(2), A, C)
    assert not slots.room
    assert not slots.any(B)


def test_a_configured_share_holds_even_when_nobody_waits() -> None:
    slots = holding(Slots(4, per_lineage=1), A)
    assert not slots.any(A)
    assert slots.any(B)


def test_one_core_serves_one_at_a_time_and_lets_a_stranger_in() -> None:
    slots = Slots(1)
    assert slots.fair(A)
    assert holding(slots, A).any(B)
    assert not slots.any(A)


def test_while_probing_a_single_job_runs() -> None:
    slots = Slots(4, probing=True)
    assert slots.room
    assert not holding(slots, A).room


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([A, B, C])), max_size=60), st.integers(1, 4))
def test_bounds_hold_and_what_is_freed_is_free_again(steps: list[tuple[bool, Waiting]], concurrency: int) -> None:
    slots, held = Slots(concurrency), []
    for start, entry in steps:
        if start and slots.any(entry):
            held.append(entry)
            slots.hold(entry)
        elif not start and entry in held:
            held.remove(entry)
            slots.free(entry)
        assert len(held) == slots.used <= concurrency + 1
    for entry in held:
        slots.free(entry)
    assert slots == Slots(concurrency)
    assert slots.room
    assert slots.any(A)
