"""The order of what waits: whose turn it is, what a window has room for."""

import time

from repairlab.spool.order import Entry, Order


def entry(name: str, lineage: str = "x", priority: int = 0, submitter: int = 0) -> Entry:
    return Entry(name, True, priority, lineage, submitter, 0.0)


def turns(order: Order, count: int) -> list[Entry]:
    """Serve so many entries, one after the other; return them."""
    heads = []
    for _ in range(count):
        heads.append(order.next(None))
        order.remove(heads[-1].name)
        order.served(heads[-1])
    return heads


def test_full_window_makes_room_for_a_higher_priority_and_a_rarer_lineage_only() -> None:
    order = Order(10)
    for n in range(12):
        order.add(entry(f"flood-{n}"))
    assert (len(order), order.missed) == (10, True)
    order.add(entry("urgent", priority=5))
    order.add(entry("rare", "y"))
    assert "urgent" in order
    assert "rare" in order
    assert len(order) == 10
    order.add(entry("one more", "x"))
    assert "one more" not in order


def test_flood_that_calls_itself_urgent_puts_nobody_else_out_of_the_window() -> None:
    order = Order(10)
    order.add(entry("early", submitter=2))
    for n in range(20):
        order.add(entry(f"flood-{n}", f"lineage-{n}", priority=100, submitter=1))
    order.add(entry("late", submitter=2))
    assert "early" in order
    assert "late" in order
    assert len(order) == 10
    order.add(entry("flood-urgent", priority=101, submitter=1))
    assert "flood-urgent" in order
    assert [name in order for name in ("early", "late")] == [True, True]


def test_flood_of_one_submitter_under_many_lineages_gets_one_turn_in_two() -> None:
    order = Order(1000)
    for n in range(100):
        order.add(entry(f"flood-{n}", f"lineage-{n}", submitter=1))
    for n in range(10):
        order.add(entry(f"honest-{n}", "mine", submitter=2))
    assert [head.submitter for head in turns(order, 20)].count(2) == 10


def test_flood_that_calls_itself_urgent_gets_no_turn_of_another() -> None:
    order = Order(1000)
    for n in range(100):
        order.add(entry(f"flood-{n}", f"lineage-{n}", priority=100, submitter=1))
        order.add(entry(f"less-{n}", f"lineage-{n}", priority=99, submitter=1))
    for n in range(10):
        order.add(entry(f"honest-{n}", "mine", submitter=2))
    served = [(head.submitter, head.priority) for head in turns(order, 20)]
    assert [served.count(one) for one in ((1, 100), (1, 99), (2, 0))] == [10, 0, 10]


def test_whose_jobs_may_not_start_keeps_nobody_elses_waiting() -> None:
    order = Order(10)
    order.add(entry("first", submitter=1, priority=5))
    order.add(entry("second", submitter=2))
    assert order.next(lambda entry: entry.submitter == 2).name == "second"
    order.add(entry("plain", "y", submitter=1))
    assert order.next(lambda entry: entry.lineage == "y").name == "plain"
    assert order.next(lambda _: False) is None


def test_one_pick_costs_the_same_in_a_large_window() -> None:
    """Steps, not seconds: the heap of a hundred thousand is compared a few dozen times."""
    small, large = picks(100), picks(20_000)
    assert large < small * 4


def picks(size: int) -> float:
    order = Order(size)
    for n in range(size):
        order.add(entry(f"{n}", f"lineage-{n % 50}"))
    start = time.process_time()
    turns(order, 100)
    return time.process_time() - start
