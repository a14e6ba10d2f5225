"""The independent judge of bench/invariants.py: it finds each planted violation, and else nothing."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import invariants
import pytest

from repairlab.spool import Spool

JUDGE = Path(invariants.__file__)
DOCUMENT = b'{"bundle_dir":"/b","ts":1}'
REJECTED = b"no JSON"
BUNDLE = "b" * 64


class Place:
    """A state directory with a job and a spec that have ended, a rejected job, and all that came of them."""

    def __init__(self, base: Path) -> None:
        self.root = base / "state"
        self.ledger = invariants.Ledger(base / "ledger")
        self.queue = Spool(self.root / "spool" / "repair")
        self.queue.create()
        self.challengers = Spool(self.root / "spool" / "challengers", pattern="challenger_*.json")
        self.challengers.create()
        self.specs = Spool(self.root / "spool" / "specs", pattern="spec*.json")
        self.specs.create()
        self.job, self.rejected = self._jobs()
        self._tournament()
        self.tool, self.bundle = self._tool()

    def _jobs(self) -> tuple[Path, Path]:
        for document in (DOCUMENT, REJECTED):
            self.queue.publish(document)
            self.ledger.accepted(document)
        ended = []
        for claim in self.queue.claims():
            if claim.read() == REJECTED:
                ended.append(claim.reject("not JSON").path)
            else:
                made = json.dumps({"idempotency_key": claim.id, "bundle_dir": "/b"}).encode()
                claim.put("challenger.json", made)
                self.challengers.publish(made, f"challenger_{claim.id}.json")
                ended.insert(0, claim.finish().path)
        return Path(ended[0]), Path(ended[1])

    def _tournament(self) -> None:
        (claim,) = self.challengers.claims(limit=1)
        claim.put("evaluation.json", b"{}")
        self.challenger = Path(claim.finish().path)
        row = {"id": claim.id, "lineage": "line", "decision": "promoted", "bundle_sha256": BUNDLE}
        self.log = self.put("metrics/metrics.jsonl", json.dumps(row).encode() + b"\n")
        bundle = self.put("bundles/won/m.py", b"").parent
        record = {"id": claim.id, "patch": "x", "bundle_dir": str(bundle), "bundle_sha256": BUNDLE}
        self.champion = self.put(f"champions/line/{claim.id}/champion.json", json.dumps(record).encode())
        (self.root / "champions" / "line" / "current").symlink_to(claim.id)
        self.patch = self.put(f"patches/line/{claim.id}.patch", b"x")
        self.page = self.put(f"patches/line/{claim.id}.md", b"x")
        self.link = self.put(f"sbom/{BUNDLE}/{hashlib.sha256(b'{}').hexdigest()}.cdx.json", b"{}")
        pattern = {"id": "p" * 32, "provenance": [BUNDLE]}
        self.pattern = self.put(f"patterns/{'p' * 32}.json", json.dumps(pattern).encode())

    def _tool(self) -> tuple[Path, Path]:
        """Serve a spec that the specder wrote."""
        self.specs.publish(b'{"id":"s"}', "spec-s.json")
        self.state = self.put("specder/state.json", b'{"told":[],"written":["s"]}')
        (claim,) = self.specs.claims(limit=1)
        spec = self.put("bundles/tool/spec.json", b"{}")
        handoff = {
            "bundle_dir": str(spec.parent),
            "spec_path": str(spec),
            "idempotency_key": f"spec-{claim.id}-{'a' * 12}",
        }
        self.queue.publish(json.dumps(handoff).encode())
        claim.finish()
        (made,) = self.queue.claims(limit=1)
        return Path(made.finish().path), spec.parent

    def put(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def found(self, **how: Any) -> set[str]:
        return {kind for kind, _ in invariants.check(self.root, self.ledger, **how)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_is_found_where_all_is_well(place: Place) -> None:
    assert invariants.check(place.root, place.ledger, machine=True) == []


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def _cut_intent(place: Place) -> None:
    (place.job / "attempts.jsonl").write_bytes(b'{"event":"started"}\n')


def _park(place: Place) -> None:
    place.rejected.rename(place.queue.path / "deferred" / place.rejected.name)


def _promote_nobody(place: Place) -> None:
    link = place.root / "champions" / "line" / "current"
    link.unlink()
    link.symlink_to("nobody")


def _demoted(place: Place, *, rows: int = 1, mark: bool = True, stands: bool = False) -> None:
    job_id = place.champion.parent.name
    row = {"id": f"{job_id}-20260101T000000000000", "lineage": "line", "decision": "demoted"}
    _append(place.log, (json.dumps(row).encode() + b"\n") * rows)
    if mark:
        (place.champion.parent / "demoted.json").write_bytes(b"{}")
    if not stands:
        (place.root / "champions" / "line" / "current").unlink()


def _once_more(path: Path, **fields: str) -> bytes:
    return json.dumps(json.loads(path.read_bytes()) | fields).encode()


VIOLATIONS: dict[str, tuple[str, Callable[[Place], object]]] = {
    "a job is removed": ("lost", lambda place: shutil.rmtree(place.job)),
    "a job is copied": (
        "doubled",
        lambda place: shutil.copytree(place.job, place.queue.path / "hold" / place.job.name),
    ),
    "a job comes from nowhere": ("nowhere", lambda place: place.queue.publish(b'{"bundle_dir":"/other"}')),
    "an arrival waits for ever": ("unended", lambda place: place.queue.publish(DOCUMENT, "handoff-again.json")),
    "a job is stranded": ("unended", _park),
    "an end without its decision": ("history", _cut_intent),
    "an end that is said twice": (
        "history",
        lambda place: _append(place.job / "attempts.jsonl", b'{"event":"finished","to":"ok"}\n'),
    ),
    "a rejection without its reason": ("history", lambda place: (place.rejected / "reason.json").unlink()),
    "rejected bytes are changed": ("bytes", lambda place: (place.rejected / "job.json").write_bytes(b"other")),
    "a challenger is missing": ("effect", lambda place: shutil.rmtree(place.challenger)),
    "a challenger is published twice": (
        "effect",
        lambda place: place.challengers.publish((place.job / "challenger.json").read_bytes(), "challenger_again.json"),
    ),
    "a challenger comes from nowhere": (
        "effect",
        lambda place: place.challengers.publish(b'{"idempotency_key":"x"}', "challenger_x.json"),
    ),
    "another challenger is published": ("effect", lambda place: _append(place.challenger / "job.json", b"\n")),
    "a row is missing": ("effect", lambda place: place.log.write_bytes(b"")),
    "a row is written twice": ("effect", lambda place: _append(place.log, place.log.read_bytes())),
    "a champion is missing": ("effect", lambda place: place.champion.unlink()),
    "a patch is missing": ("effect", lambda place: place.patch.unlink()),
    "nobody is champion": ("effect", _promote_nobody),
    "a page is missing": ("effect", lambda place: place.page.unlink()),
    "a letter about nobody": ("effect", lambda place: place.put(f"patches/line/{'a' * 24}.patch", b"x")),
    "a record of nobody": ("effect", lambda place: place.put(f"champions/line/{'a' * 24}/champion.json", b"{}")),
    "a champion has no bundle": ("effect", lambda place: shutil.rmtree(place.root / "bundles" / "won")),
    "a demotion is told twice": ("effect", lambda place: _demoted(place, rows=2)),
    "a demotion is told nowhere": ("effect", lambda place: _demoted(place, rows=0)),
    "a demotion without its mark": ("effect", lambda place: _demoted(place, mark=False)),
    "who was demoted stands": ("effect", lambda place: _demoted(place, stands=True)),
    "a document of the chain is changed": ("effect", lambda place: place.link.write_bytes(b"[]")),
    "a document of the chain is missing": ("effect", lambda place: place.link.unlink()),
    "a chain of nobody": ("effect", lambda place: (place.root / "sbom" / ("c" * 64)).mkdir()),
    "a pattern under another name": ("effect", lambda place: place.pattern.rename(place.pattern.with_stem("q" * 32))),
    "a pattern of nobody": (
        "effect",
        lambda place: place.pattern.write_bytes(_once_more(place.pattern, provenance="c")),
    ),
    "a tool is missing": ("effect", lambda place: shutil.rmtree(place.tool)),
    "a tool is there twice": (
        "effect",
        lambda place: place.challengers.publish((place.tool / "job.json").read_bytes(), "challenger_again.json"),
    ),
    "a tool of no spec": ("effect", lambda place: shutil.rmtree(place.specs.path / "processed" / "ok")),
    "a tool has no bundle": ("effect", lambda place: shutil.rmtree(place.bundle)),
    "a tool is half made": ("temporary", lambda place: (place.root / "bundles" / "spec-x").mkdir()),
    "a spec is there twice": (
        "effect",
        lambda place: place.specs.publish(b'{"id":"s","reason":"again"}', "spec-again.json"),
    ),
    "a spec is written down nowhere": ("effect", lambda place: place.state.write_bytes(b"{}")),
    "a challenger that was handed in is lost": (
        "lost",
        lambda place: place.ledger.accepted(b'{"idempotency_key":"k"}', queue="challengers"),
    ),
    "a document is cut": ("torn", lambda place: (place.job / "challenger.json").write_bytes(b'{"id')),
    "a claim is cut": ("torn", lambda place: (place.job / "claim").write_bytes(b'{"pid":')),
    "a log ends in a line's middle": ("torn", lambda place: _append(place.log, b'{"id')),
    "a staging file": ("temporary", lambda place: (place.queue.path / "tmp" / "publish-1-a").touch()),
    "a staged replacement": ("temporary", lambda place: (place.job / ".reason.json.0a1b2c3d").touch()),
    "a half-frozen bundle": ("temporary", lambda place: (place.root / "bundles" / ".tmp-1-a").mkdir(parents=True)),
    "a gate": ("gate", lambda place: (place.queue.path / "active" / ("a" * 24)).mkdir()),
    "something else in a queue": ("stray", lambda place: (place.queue.path / "notes.txt").touch()),
    "something else among jobs": ("stray", lambda place: (place.queue.path / "hold" / "notes").touch()),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_is_found(place: Place, name: str) -> None:
    kind, plant = VIOLATIONS[name]
    plant(place)
    assert kind in place.found()


@pytest.fixture
def holder(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works in the state directory and holds the lock of a job."""
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", code, str(place.job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_lock_and_a_process_that_are_left_are_found(place: Place, holder: subprocess.Popen[bytes]) -> None:
    assert place.found(machine=True) == {"lock", "process"}
    holder.communicate()
    assert place.found(machine=True) == set()


def test_what_was_demoted_rightly_is_no_finding(place: Place) -> None:
    _demoted(place)
    assert place.found() == set()


def test_what_moves_has_not_to_have_ended(place: Place) -> None:
    place.queue.publish(DOCUMENT, "handoff-again.json")
    (place.queue.path / "tmp" / "publish-1-a").touch()
    assert place.found(moving=True) == set()


def test_a_cut_copy_may_be_there_and_what_was_dropped_need_not(place: Place) -> None:
    whole = b'{"bundle_dir":"/elsewhere"}'
    place.ledger.offer(whole, cut=True)
    place.queue.publish(whole[:9])
    place.ledger.dropping(place.job.name)
    shutil.rmtree(place.job)
    assert place.found() == {"unended"}


def test_a_job_that_comes_again_after_it_was_dropped_may_have_the_challenger_of_its_former_life(place: Place) -> None:
    place.queue.drop(place.job.name)
    place.queue.publish(DOCUMENT)
    next(place.queue.claims()).reject("not this time")
    assert place.found() == {"effect"}, "a control: nobody has dropped it"
    place.ledger.dropping(place.job.name)
    assert place.found() == set()


def test_the_ids_are_those_of_the_queue(place: Place) -> None:
    documents = [b"{}", b'{"idempotency_key":"k"}', b'{"idempotency_key":3}', b"\xff"]
    jobs = place.queue.publish_many(documents)
    assert [invariants.identify(document) for document in documents] == [job.id for job in jobs]


def test_the_program_says_what_it_found_and_fails(place: Place) -> None:
    (place.queue.path / "notes.txt").touch()
    run = subprocess.run(
        [sys.executable, "-IS", str(JUDGE), str(place.root), place.ledger.path], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (1, f"stray\t{place.queue.path}/notes.txt\n")


def test_it_reads_without_the_project(place: Place) -> None:
    """-IS leaves our packages out of its reach; and a lock that it tries is given back."""
    subprocess.run([sys.executable, "-IS", str(JUDGE), str(place.root), place.ledger.path], check=True)
    fd = os.open(place.job, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
