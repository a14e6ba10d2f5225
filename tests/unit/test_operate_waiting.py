"""`repairlab follow` tells each event once, wherever the job is when it is looked at."""

from pathlib import Path

import pytest

from repairlab.operate.waiting import Tail
from repairlab.spool import Policy, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path, policy=Policy(settle_s=0))
    spool.create()
    return spool


def test_a_job_that_ends_while_others_are_told_of_is_told_of_once(spool):
    ids = {spool.publish(b'{"bundle_dir": "/srv/%d"}' % number).id for number in range(2)}
    tail = Tail(spool, None, since=0)
    claims = {claim.id: claim for claim in spool.claims()}
    assert claims.keys() == ids
    polling = tail.poll()
    first, event = next(polling)
    told = [(first.id, event["event"])]
    (late,) = ids - {first.id}
    with claims[late] as claim:  # listed as active, and elsewhere by the time it is looked at
        claim.finish()
    told += [(job.id, event["event"]) for job, event in polling]
    told += [(job.id, event["event"]) for job, event in tail.poll()]
    assert told == [(first.id, "started"), (late, "started"), (late, "finished")]
    spool.retry(late)
    with claims[first.id] as claim:
        claim.finish()
    assert {(job.id, event["event"]) for job, event in tail.poll()} == {(first.id, "finished"), (late, "retried")}
