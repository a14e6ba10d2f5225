"""Every document of the corpus goes through a queue, and is accepted or refused as its name says."""

from pathlib import Path

import pytest

from repairlab import documents
from repairlab.documents import Handoff
from repairlab.errors import BadInput
from repairlab.spool import Policy, Spool, State

CORPUS = Path(__file__).parents[1] / "documents"
ACCEPTED = sorted((CORPUS / "accepted").glob("*.json"))
REFUSED = sorted((CORPUS / "refused").glob("*.json"))
DEEP = 200_000


def judged(tmp_path: Path, raw: bytes):
    """Drop the bytes as a producer would, serve the queue as a worker would, and return the job."""
    spool = Spool(tmp_path, policy=Policy(settle_s=0))
    spool.create()
    (spool.path / "handoff.json").write_bytes(raw)
    for claim in spool.claims():
        with claim:
            documents.decode(claim.read(), Handoff)
            claim.finish()
    [job] = spool.jobs()
    assert Path(job.path, "job.json").read_bytes() == raw, "the bytes are kept"
    return job


def test_corpus_is_there() -> None:
    assert len(ACCEPTED) > 8
    assert len(REFUSED) > 60


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_accepted(tmp_path: Path, path: Path) -> None:
    assert judged(tmp_path, path.read_bytes()).state is State.OK


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_accepted_documents_survive_being_written_again(path: Path) -> None:
    handoff = documents.decode(path.read_bytes(), Handoff)
    assert documents.decode(documents.encode(handoff), Handoff) == handoff


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_refused(tmp_path: Path, path: Path) -> None:
    job = judged(tmp_path, path.read_bytes())
    assert job.state is State.REJECTED
    reason = job.reason()
    field = path.stem.rpartition(".")[0]
    assert reason.get("field", "bytes") == field
    assert reason["reason"]
    assert reason["fix"]


GENERATED = {
    "a hundred MiB of white space": lambda: b" " * (100 << 20),
    "one byte too many": lambda: b'{"bundle_dir":"/b","x":"' + b"x" * documents.MAX_BYTES + b'"}',
    "nested without end": lambda: b"[" * DEEP,
    "nested and closed": lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a million keys": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}",
}


@pytest.mark.parametrize("make", GENERATED.values(), ids=GENERATED)
def test_enormous_documents_are_refused(tmp_path: Path, make) -> None:
    job = judged(tmp_path, make())
    assert job.state is State.REJECTED
    with pytest.raises(BadInput):
        documents.decode(job.document(), Handoff)


def test_largest_bearable_document_is_accepted(tmp_path: Path) -> None:
    frame = len(b'{"bundle_dir":"/b","x":""}')
    raw = b'{"bundle_dir":"/b","x":"' + b"x" * (documents.MAX_BYTES - frame) + b'"}'
    assert judged(tmp_path, raw).state is State.OK
