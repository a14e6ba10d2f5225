"""bench/peers and bench/spoolers: each peer does what it is measured by, and its processes end with the measurement."""

import os
import subprocess

import pytest
from peers import QUEUES, Maildir, Ours, document
from queues import BATCH, apart, each, printed, throughput
from spoolers import SPOOLERS


@pytest.mark.parametrize("kind", [Ours, Maildir])
def test_a_queue_gives_what_was_put_once_until_it_is_done(tmp_path, kind):
    queue = kind(tmp_path / "queue", True)
    for number in range(3):
        queue.put(number)
    for _ in range(3):
        queue.done(queue.take())
    assert queue.take() is None
    queue.close()


def test_a_producer_of_ours_hears_of_no_arrival(tmp_path):
    queue = Ours(tmp_path / "queue", True)
    queue.put(0)
    assert queue.hints is None  # its thread would take turns with the producer at each name that appears
    queue.done(queue.take())
    assert queue.hints is not None
    queue.close()


def test_a_row_of_rates_has_a_dash_for_what_a_peer_cannot_do(tmp_path):
    name, promised, at_a_crash, *cells = throughput(Maildir, tmp_path, True, 0.1)
    assert (name, promised, at_a_crash) == ("mailbox.Maildir", "every job", "comes again")
    assert [cell == "-" for cell in cells] == [False, False, True, False, True, False]
    assert list(tmp_path.iterdir()) == []  # a small disk has inodes for one round


def test_what_one_process_of_a_measurement_finds_is_told_and_its_failure_too():
    assert apart(lambda: [1.5, float(os.getpid() != parent)]) == [1.5, 1.0]
    with pytest.raises(RuntimeError, match="its process failed"):
        apart(lambda: [1 / 0])


parent = os.getpid()


@pytest.mark.parametrize("spooler", SPOOLERS, ids=lambda spooler: spooler.name)
@pytest.mark.parametrize("waiting", [0, 5])
def test_a_spooler_starts_one_job_after_the_other_and_leaves_none(tmp_path, spooler, waiting):
    if spooler.absent:
        pytest.skip(f"{spooler.name} is not installed: {spooler.absent}")
    takes = spooler.takes(tmp_path / "held", waiting, 4)
    assert len(takes) == 4
    assert min(takes) > 0
    handed_in, ended = spooler.rates(tmp_path / "rates", 8, 2)
    assert handed_in >= ended > 0
    listed = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed


def test_a_peer_that_fails_has_a_row_that_says_so_and_the_others_have_theirs(tmp_path, capsys):
    def failing(kind, root, step):
        if kind is Maildir:
            raise RuntimeError("no | of any kind")
        return [kind.NAME, "fine"] if kind is Ours else []

    printed(["queue", "promise", "waiting"], each(tmp_path, "", [1, 2], failing, lambda *_: []))
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:-1]]
    assert told == [
        *[["repairlab", "fine", ""]] * 2,
        *[["mailbox.Maildir", "failed: RuntimeError: no / of any kind", ""]] * 2,
    ]
    assert list(tmp_path.iterdir()) == []


def test_documents_differ_and_every_kind_says_what_it_promises():
    assert document(1) != document(2)
    assert len({kind.NAME for kind in QUEUES}) == len(QUEUES)
    assert all(kind.GUARANTEE[not durable] for kind in QUEUES for durable in kind.MODES)
    assert all(spooler.guarantee and spooler.most <= BATCH for spooler in SPOOLERS)
