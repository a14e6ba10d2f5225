"""bench/seeds: what fuzzing starts from: for each target of bench/parsers.py some inputs that it accepts."""

import json
import struct
from pathlib import Path
from typing import Any

from repairlab.documents import KINDS
from repairlab.sandbox import inside

CORPUS = Path(__file__).resolve().parents[1] / "tests" / "documents"
SHA, NOW = "0" * 64, "2026-01-02T03:04:05Z"
PARTS = dict.fromkeys(("correctness", "safety", "performance", "robustness", "documentation", "stability"), 1.0)
EDIT = {"before": "$x < $y", "after": "$x <= $y", "holes": {"x": "expression", "y": "expression"}}
DIFF = "--- a/file.py\n+++ b/file.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\r\n"
SPEC = {
    "id": "slug", "task": "make a slug", "signature": "def slug(text: str, width: int) -> str",
    "examples": [{"input": ["A b", 2], "output": "a-b"}, {"input": {"text": "", "width": 0}, "output": ""}],
    "properties": ["len(result) <= len(text)"], "targets": {"fitness": 0.5}, "parents": ["a"],
}  # fmt: skip
DOCUMENTS: dict[str, dict[str, Any]] = {
    "Handoff": {"bundle_dir": "/b", "not_before": NOW, "limits": {"wall_s": 9}, "env": {"A": "b"}, "priority": 1},
    "Telemetry": {
        "ok": True, "attempts": 1, "strategy": "noop", "pattern_id": None, "details": "", "bundle_sha256": SHA,
        "parent_sha256": SHA, "failing": ["t.py::t"], "timings": {"total_s": 1.0},
    },
    "Challenger": {
        "ts": 1.0, "source": "x", "bundle_dir": "/b", "spec_path": None, "lineage": "l", "original_epoch": None,
        "original_fitness": None, "repair_strategy": "multi_edit", "repair_pattern_id": None, "repair_attempts": 3,
        "repair_details": "", "bundle_sha256": SHA, "meta_repair": True, "patch": DIFF, "parent_sha256": SHA,
        "idempotency_key": "k", "verified": True,
    },
    "Escalation": {
        "at": NOW, "unit": "u.service", "manager": "system", "result": "exit-code", "exit_code": "exited",
        "exit_status": 1, "signal": None, "restarts": 0, "boot_id": None, "invocation_id": None,
        "journal": [{"at": NOW, "priority": 3, "source": "u", "message": "m"}], "journal_note": None, "advice": "a",
        "commands": ["c"],
    },
    "MetricsRow": {
        "timestamp": NOW, "id": "i", "path": "challenger", "lineage": "l", "fitness": 1.0, "components": PARTS,
        "decision": "promoted", "meta_repair": True, "bundle_sha256": SHA, "parent_sha256": None, "median_ms": 1.5,
    },
    "Champion": {
        "id": "0" * 24, "at": NOW, "lineage": "l", "parent": None, "bundle_dir": "/b", "bundle_sha256": SHA,
        "parent_sha256": SHA, "patch": DIFF, "fitness": 1.0, "components": PARTS, "strategy": "noop",
    },
    "Pattern": {"id": "0" * 32, "origin": "o", "kind": "edit", "edit": EDIT, "quality": {"wins": 1}},
    "Spec": SPEC,
    "LlmRequest": {
        "id": "0" * 32, "parent_sha256": SHA, "effort": 1, "wait_s": 1.0, "failing": [{"id": "t", "message": "m"}],
        "functions": [{"file": "f.py", "line": 1, "suspiciousness": 0.5, "source": "def f(): ..."}],
    },
    "ToolRequest": {
        "id": "0" * 32, "spec_id": "s", "task": "t", "header": "def f(x: int) -> int:",
        "examples": [{"call": "f(1)", "result": "2"}], "properties": ["result > x"],
    },
    "ToolResponse": {"id": "0" * 32, "functions": ["def f(x):\n    return x + 1\n"], "model": "m", "cost_usd": 0.1},
    "LlmResponse": {"id": "0" * 32, "patches": [DIFF], "model": "m", "cost_usd": 0.1},
}  # fmt: skip
CHAIN = {
    "bomFormat": "CycloneDX",
    "metadata": {
        "timestamp": NOW,
        "component": {
            "name": "l", "hashes": [{"alg": "SHA-256", "content": SHA}],
            "pedigree": {
                "ancestors": [{"hashes": [{"alg": "SHA-256", "content": SHA}]}],
                "patches": [{"type": "unofficial", "diff": {"text": {"content": DIFF}}}],
            },
        },
        "properties": [{"name": "repairlab:parent-document-sha256", "value": SHA}],
    },
}  # fmt: skip
PYTHON = b"""# -*- coding: utf-8 -*-
import os, subprocess as s
class A(dict):
    @property
    def f(self, x: int = 1, *, y=2) -> "list[int]":
        try:
            return [f"{i!r:>{x}}" for i in range(x) if i < y] or getattr(os, "sys" + "tem")("x")
        except Exception:
            pass
async def g(a, /, *b, **c):
    match a:
        case {"k": [1, *_]} | None:
            await b
    with open("f") as d, e: yield lambda: (d := 1)
"""
REPORT = b"""<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="3">
<testcase classname="t.T" name="a[1]" time="0.1"/><testcase classname="t" name="b"><failure message="m">x</failure>
</testcase><testcase classname="t" name="c"><skipped type="s">&lt;</skipped></testcase></testsuite></testsuites>"""
EVENTS = b"""{"event":"started","at":"2026-01-02T03:04:05Z","boot":"b","boottime":1.5,"pid":7}
{"event":"failed","to":"deferred","reason":"r","wait_s":2.5,"fingerprint":"f"}
{"event":"finished","to":"ok"}
torn"""
SETTINGS = b"""[queue]
backoff_base_s = 0.5
max_attempts = 7  # what
[bundles]
roots = ["/a", "b"]
[watcher]
concurrency = 2
queue.settle_s = 1
"""


def _frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _replies() -> list[bytes]:
    run = {"exit": 0, "wall_s": 1.5, "cases": [["t", "a", "p"], ["t", "b", "s"]], "why": ""}
    cause = {"where": "f", "kind": "KeyError", "base": "", "message": "m", "frames": [["f", 1]]}
    loaded = {"ids": ["t"], "causes": [cause], "outcomes": [[0, "p"]]}
    collected = {"ids": ["t::a"], "files": ["t.py"], "errors": [["t", "e"]], "causes": [cause]}
    test = {"index": 0, "outcome": "f", "lines": {"f": [[1, 2]]}, "earlier": {"f": [[1, 1, 2]]}, "crash": [["f", 1]]}
    baseline = {"tests": [test | {"types": [["f", 1, "x", "int"]]}], "missing": [1]}
    verdicts, cost = {"verdicts": [["passed", "pf", True]]}, {"hot": 1.0}
    return [bytes([at]) + _json(value) for at, value in enumerate((run, loaded, collected, baseline, verdicts, cost))]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def seeds() -> dict[str, list[bytes]]:
    """Return the seeds of every target."""
    packed = b"".join(inside.pack([("a/b.py", "f", b"x"), ("c", "x", b"")]))
    edited = PYTHON.replace(b"i < y", b"i <= y").replace(b'"k"', b'"kk"')
    handoffs = [path.read_bytes() for path in sorted((CORPUS / "accepted").glob("*.json"))]
    rows = _json(DOCUMENTS["MetricsRow"])
    return {
        "document": [bytes([at]) + _json(DOCUMENTS[kind.__name__]) for at, kind in enumerate(KINDS)],
        "spec": [_json(SPEC), _json({"id": "a", "task": "", "io": {"inputs": {"x": "set[int]"}, "output": "float"}})],
        "pattern": [_json(DOCUMENTS["Pattern"])],
        "template": [b"$x < $y\n---\n$x <= $y", b"for $y in $x:\n    ...\n---\nfor $y in list($x):\n    ..."],
        "envelope": handoffs,
        "events": [EVENTS],
        "rows": [rows + b"\n" + rows + b"\ntorn"],
        "settings": [SETTINGS],
        "diff": [
            DIFF.encode(),
            b'--- "a/file.py"\n+++ b/file.py\n@@ -6 +6 @@\n-six\n\\ No newline at end of file\n+7\n',
        ],
        "answer": [DIFF.encode(), DIFF.replace("-1,3 +1,3", "-9,3 +9,3").encode()],
        "function": [
            b"Here:\n```python\nimport math\nONE = 1\ndef add(x, y):\n    'adds'\n    return x + y\n```\nDone."
        ],
        "chain": [_json(CHAIN), _json({"subject": [{"digest": {"sha256": SHA}}]})],
        "response": [_json(DOCUMENTS["LlmResponse"])],
        "report": [REPORT],
        "frames": [b"\x00" + _frame(packed) + _frame(b""), b"\xff" + _frame(b"abc") + _frame(b"") + _frame(b"x" * 99)],
        "entries": [packed],
        "reply": _replies(),
        "source": [PYTHON, b"\xef\xbb\xbf" + PYTHON, "# coding: latin-1\na = 'é'\n".encode("latin-1")],
        "mining": [PYTHON + b"\n---\n" + edited],
    }
