"""watch.judge and watch.prepare, called as the workers call them, on a real spool."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from repairlab import documents
from repairlab.documents import Challenger, Telemetry, patch_bytes
from repairlab.errors import BadInput
from repairlab.sandbox.bundle import hash_files, tree_hash
from repairlab.spool import Claim, Spool, State
from repairlab.watch import judge, prepare

BROKEN, MENDED = b"def add(a, b):\n    return a - b\n", b"def add(a, b):\n    return a + b\n"
TEST = b"from calc import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"
PATCH = b"--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n"
NEW = hash_files({"calc.py": MENDED, "test_calc.py": TEST})


class Bench:
    """A spool with one claimed job, prepared."""

    def __init__(self, root: Path, **fields: Any) -> None:
        self.root = root
        source = root / "bundles" / "mine"
        source.mkdir(parents=True)
        (source / "calc.py").write_bytes(BROKEN)
        (source / "test_calc.py").write_bytes(TEST)
        self.spool = Spool(root / "spool")
        self.challengers = Spool(root / "challengers", pattern="challenger_*.json")
        self.spool.create()
        self.challengers.create()
        self.claim = self.claimed({"bundle_dir": str(source), **fields})

    def claimed(self, handoff: dict[str, Any]) -> Claim:
        self.spool.publish(orjson.dumps(handoff))
        backlog = self.spool.backlog()
        backlog.scan(1)
        claim = backlog.take()
        assert claim is not None
        backlog.close()
        claim.workdir()
        return claim

    @property
    def work(self) -> Path:
        return self.claim.path / "work"

    def prepare(self, *, wall_s: float = 60) -> dict[str, Any]:
        order = prepare.Order(
            job=str(self.claim.path),
            id=self.claim.id,
            submitter=self.claim.submitter,
            store=str(self.root / "bundles"),
            roots=[str(self.root / "bundles")],
            max_files=100,
            max_bytes=100_000,
            wall_s=wall_s,
            memory_mb=512,
        )
        assert prepare.main([msgspec.json.encode(order).decode()]) == 0
        self.prepared = orjson.loads((self.work / "prepared.json").read_bytes())
        return self.prepared

    def says(self, code: int = 0, *, patch: bytes | None = PATCH, killed: str = "", **fields: Any) -> dict[str, Any]:
        base = {"ok": True, "attempts": 3, "strategy": "heuristic_microfix", "pattern_id": "p", "details": "a - b"}
        told = {**base, "bundle_sha256": NEW, "parent_sha256": self.prepared["sha256"], **fields}
        return self.answers(orjson.dumps(told), code, patch=patch, killed=killed)

    def answers(self, raw: bytes, code: int = 0, *, patch: bytes | None = None, killed: str = "") -> dict[str, Any]:
        (self.work / "agent.stdout").write_bytes(raw)
        (self.work / "out").mkdir(exist_ok=True)
        if patch is not None:
            (self.work / "out" / "patch.diff").write_bytes(patch)
        return self.judge(code, killed=killed)

    def judge(self, code: int = 0, *, killed: str = "") -> dict[str, Any]:
        order = judge.Order(
            job=str(self.claim.path),
            id=self.claim.id,
            lineage=self.claim.lineage,
            queue=str(self.challengers.path),
            snapshot=self.prepared["snapshot"],
            sha256=self.prepared["sha256"],
            code=code,
            killed=killed,
        )
        assert judge.main([msgspec.json.encode(order).decode()]) == 0
        return orjson.loads((self.work / "verdict.json").read_bytes())

    def published(self) -> list[Challenger]:
        paths = self.challengers.path.glob("challenger_*.json")
        return [documents.decode(path.read_bytes(), Challenger, max_bytes=1 << 25) for path in paths]


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """The judge widens the umask of its own process, which here is ours."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path, lineage="mine", epoch=4, metrics={"fitness": 0.25}, note="kept", spec_path="s.json")
    made.prepare()
    return made


def test_the_agent_gets_a_frozen_bundle_and_bounded_limits(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits={"wall_s": 5000, "memory_mb": 100}, note="kept")
    prepared = bench.prepare(wall_s=60)
    handoff = orjson.loads((bench.work / "handoff.json").read_bytes())
    assert handoff["bundle_dir"] == prepared["snapshot"] == str(tmp_path / "bundles" / prepared["sha256"])
    assert handoff["limits"] == {"wall_s": 60, "memory_mb": 100}
    assert (handoff["note"], prepared["wall_s"]) == ("kept", 60)
    assert prepared["sha256"] == tree_hash(tmp_path / "bundles" / "mine")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"bundle_dir": 5}', "bundle_dir"),
        (b'{"tests": []}', "bundle_dir"),
        (b'{"bundle_dir": "/etc"}', "bundle_dir"),
        (b'{"bundle_dir": "/nonexistent"}', "bundle_dir"),
        (b'{"bundle_dir": "relative"}', "bundle_dir"),
        (b'["a list"]', ""),
        (b"{" + b'"a":{' * 50 + b"}" * 51, ""),
    ],
)
def test_bad_input_is_said_with_field_and_fix(tmp_path: Path, raw: bytes, field: str) -> None:
    bench = Bench(tmp_path)
    (bench.claim.path / "job.json").write_bytes(raw)
    with pytest.raises(BadInput):
        bench.prepare()
    told = orjson.loads((bench.work / "prepared.json").read_bytes())
    assert told["field"] == field
    assert told["message"]
    assert told["fix"]


def test_a_true_repair_becomes_a_challenger_and_durable_evidence(bench: Bench) -> None:
    assert bench.says()["verdict"] == "repaired"
    (challenger,) = bench.published()
    assert challenger.idempotency_key == bench.claim.id
    assert (challenger.lineage, challenger.original_epoch, challenger.original_fitness) == ("mine", 4, 0.25)
    assert (challenger.meta_repair, challenger.patch, challenger.repair_attempts) == (True, PATCH.decode(), 3)
    assert challenger.bundle_dir == bench.prepared["snapshot"]
    assert challenger.unknown == {"note": "kept"}
    assert (bench.claim.path / "patch.diff").read_bytes() == PATCH
    documents.decode((bench.claim.path / "telemetry.json").read_bytes(), Telemetry)


def test_what_the_search_found_goes_with_the_challenger(bench: Bench) -> None:
    question = {"call": "f(1)", "likeliest": "2", "other": "3"}
    shown = {"diff": "d", "strategy": "heuristic_microfix", "transformation": "t", "file": "f", "line": 1, "score": 1.0}
    confidences = [0.6, 0.1, 0.3]
    candidates = [{**shown, "confidence": each} for each in confidences]
    bench.says(tests=500, failed=300, clusters=3, question=question, candidates=candidates)
    (challenger,) = bench.published()
    assert challenger.findings == documents.Findings(
        tests=500, failed=300, clusters=3, next_confidence=0.3, question=documents.Question(**question)
    )


def test_a_noop_becomes_a_challenger_without_a_patch(bench: Bench) -> None:
    judged = bench.says(strategy="noop", bundle_sha256=bench.prepared["sha256"], patch=None)
    assert judged["verdict"] == "noop"
    (challenger,) = bench.published()
    assert (challenger.meta_repair, challenger.patch) == (False, "")


def test_an_honest_no_publishes_nothing_and_keeps_its_telemetry(bench: Bench) -> None:
    judged = bench.says(1, ok=False, strategy="exhausted", reason="exhausted", patch=None)
    assert (judged["verdict"], judged["reason"], judged["tried"]) == ("not_repaired", "exhausted", 3)
    assert not bench.published()
    assert (bench.claim.path / "telemetry.json").exists()


def test_a_no_at_the_deadline_says_deadline(bench: Bench) -> None:
    judged = bench.says(1, ok=False, strategy="exhausted", reason="interrupted", patch=None, killed="deadline")
    assert judged["reason"] == "deadline"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code": 1}, "exit code"),
        ({"ok": False, "strategy": "exhausted"}, "exit code"),
        ({"parent_sha256": "0" * 64}, "parent_sha256"),
        ({"bundle_sha256": "0" * 64}, "bundle_sha256"),
        ({"patch": None}, "No such file"),
        ({"patch": b""}, "empty"),
        ({"patch": PATCH.replace(b"a - b", b"a * b")}, "does not apply"),
        ({"patch": PATCH.replace(b"calc.py", b"test_calc.py")}, "does not apply"),
        ({"patch": b"--- a/test_calc.py\n+++ b/test_calc.py\n@@ -2,2 +2,2 @@\n-\n+#\n def test_add():\n"}, "a test"),
        ({"strategy": "noop"}, "another bundle_sha256"),
        ({"strategy": "invented"}, "strategy"),
        ({"attempts": -1}, "attempts"),
        ({"correct": False}, "correct is false"),
        ({"correct": True}, "holds no test out"),
        ({"confidence": 1.5}, "confidence"),
    ],
)
def test_a_lie_is_found_and_publishes_nothing(bench: Bench, fields: dict[str, Any], reason: str) -> None:
    judged = bench.says(**fields)
    assert judged["verdict"] == "invalid"
    assert reason in judged["reason"]
    assert not bench.published()
    assert not (bench.claim.path / "challenger.json").exists()


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"garbage", b"[1]", b"{} {}", b'{"ok":' + b"[" * 10**5 + b"]" * 10**5 + b"}", b"\xff" * 100]
)
def test_what_is_not_one_telemetry_object_is_invalid(bench: Bench, raw: bytes) -> None:
    assert bench.answers(raw)["verdict"] == "invalid"


def test_a_stdout_beyond_the_bound_is_invalid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "MAX_TELEMETRY", 1000)
    assert "more than 1000 bytes" in bench.says(padding="x" * 1000)["reason"]


def test_a_bundle_that_was_changed_in_place_is_noticed(bench: Bench) -> None:
    frozen = Path(bench.prepared["snapshot"])
    frozen.chmod(0o755)
    (frozen / "extra.py").write_text("x = 1\n")
    assert "was changed" in bench.says()["reason"]


def test_only_editable_files_may_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path, editable=["src/*.py"])
    bench.prepare()
    assert "not editable" in bench.says()["reason"]


def test_the_benchmark_that_the_handoff_names_may_not_change_and_goes_into_the_challenger(tmp_path: Path) -> None:
    for name, verdict in ("./calc.py", "invalid"), ("test_calc.py", "repaired"):
        (tmp_path / verdict).mkdir()
        asked = {"targets": {"fitness": 0.5}, "retired_tests": ["test_old.py"]}
        bench = Bench(tmp_path / verdict, benchmark=name, **asked)
        bench.prepare()
        assert bench.says()["verdict"] == verdict
    (challenger,) = bench.published()
    assert (challenger.benchmark, challenger.targets) == ("test_calc.py", {"fitness": 0.5})
    assert challenger.retired_tests == ["test_old.py"]


def test_tests_that_the_handoff_names_are_the_ones_that_may_not_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tests=["calc.py::test_add"])
    bench.prepare()
    assert "calc.py, a test" in bench.says()["reason"]


def test_held_out_files_may_not_change_and_their_verdict_goes_into_the_challenger(tmp_path: Path) -> None:
    for held_out, verdict in (["calc.py"], "invalid"), (["test_calc.py"], "repaired"):
        (tmp_path / verdict).mkdir()
        bench = Bench(tmp_path / verdict, held_out=held_out)
        bench.prepare()
        assert bench.says(correct=True, confidence=0.75)["verdict"] == verdict
    (challenger,) = bench.published()
    assert (challenger.correct, challenger.confidence) == (True, 0.75)


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("tests/test_a.py", "tests", True),
        ("tests/test_a.py", "tests/", True),
        ("tests/deep/conftest.py", "conftest.py", True),
        ("src/test_a.py", "test_*.py", True),
        ("src/a.py", "src/*.py", True),
        ("src/a.py", "other/*.py", False),
        ("contests/a.py", "tests", False),
        ("a.py", ".", True),
        ("sub/a.py", "a.py", False),
    ],
)
def test_patterns_name_paths_directories_and_pytest_names(name: str, pattern: str, matches: bool) -> None:
    assert judge._matches(name, [pattern]) is matches


def test_a_patch_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    source = tmp_path / "bundles" / "mine" / "calc.py"
    head = b"# coding: latin-1 \xe9\n"
    source.write_bytes(head + BROKEN)
    bench.prepare()
    patch = PATCH.replace(b"@@ -1,2 +1,2 @@\n", b"@@ -1,3 +1,3 @@\n " + head)
    new = hash_files({"calc.py": head + MENDED, "test_calc.py": TEST})
    assert bench.says(patch=patch, bundle_sha256=new)["verdict"] == "repaired"
    (challenger,) = bench.published()
    assert patch_bytes(challenger.patch, challenger.patch_encoding) == patch


def test_what_a_producer_says_of_the_encoding_is_not_handed_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, patch_encoding="latin-1", other="kept")
    bench.prepare()
    bench.says()
    (challenger,) = bench.published()
    assert challenger.patch_encoding == "utf-8"
    assert challenger.unknown == {"other": "kept"}


def test_an_owner_that_died_before_the_end_is_resumed_with_the_same_challenger(bench: Bench) -> None:
    bench.says()
    (first,) = bench.challengers.path.glob("challenger_*.json")
    before = first.read_bytes()
    assert bench.prepare()["resumed"]
    assert bench.judge()["verdict"] == "repaired"
    assert [path.read_bytes() for path in bench.challengers.path.glob("challenger_*.json")] == [before]


def test_a_challenger_that_the_tournament_has_taken_is_not_published_again(bench: Bench) -> None:
    bench.says()
    (claim,) = bench.challengers.claims()
    with claim:
        assert bench.prepare()["resumed"]
        bench.judge()
        assert not bench.published()
        claim.finish()
    bench.judge()
    assert not bench.published()
    assert bench.challengers.counts()[State.OK] == 1


def test_a_result_lost_before_it_was_published_is_published_when_resumed(bench: Bench) -> None:
    bench.says()
    (path,) = bench.challengers.path.glob("challenger_*.json")
    path.unlink()
    assert bench.prepare()["resumed"]
    bench.judge()
    assert len(bench.published()) == 1


def test_an_answer_from_before_a_retry_is_not_resumed(bench: Bench) -> None:
    bench.says()
    job = bench.claim.finish()
    bench.spool.retry(job.id)
    backlog = bench.spool.backlog()
    backlog.scan(1)
    again = backlog.take()
    assert again is not None
    bench.claim = again
    again.workdir()
    assert not bench.prepare()["resumed"]


def test_results_are_readable_and_nothing_half_written_stays(bench: Bench) -> None:
    bench.says()
    names = set(os.listdir(bench.claim.path))
    assert {"telemetry.json", "patch.diff", "challenger.json"} <= names
    assert not [name for name in names if name.startswith(".")]
    assert stat.S_ISREG((bench.claim.path / "patch.diff").lstat().st_mode)
    assert abs(bench.published()[0].ts - time.time()) < 60
