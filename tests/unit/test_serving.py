"""A service tells how each job left its hands, also where the claim files the error away."""

import pytest

from repairlab import journal
from repairlab.errors import BadInput, TemporaryFailure
from repairlab.serving import Service
from repairlab.spool import Policy, Spool, State


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "specs", pattern="spec*.json", policy=Policy(settle_s=0))
    made.create()
    return made


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (BadInput("it has none", field="examples", fix="add one"), State.REJECTED, "examples: it has none"),
        (TemporaryFailure("the disk is full"), State.DEFERRED, "deferred: the disk is full"),
    ],
)
def test_what_is_rejected_or_put_off_is_told_with_its_job_and_its_reason(spool, capsys, error, state, said):
    journal.configure("service", journal.Lines())
    job = spool.publish(b'{"id": "x"}\n')

    def carry(_claim):
        raise error

    for claim in spool.claims():
        Service._one(claim, carry)
    assert spool.find(job.id).state is state
    told = capsys.readouterr().err
    assert said in told
    assert job.id in told
